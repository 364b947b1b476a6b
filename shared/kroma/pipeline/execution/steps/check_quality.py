"""Judge every generated candidate before anything is spent on it; reject what fails hard."""

import asyncio
from typing import TYPE_CHECKING

import msgspec

from kroma.cpu import remote
from kroma.db.base import utc_now
from kroma.imaging.color_check import GuardReport
from kroma.imaging.header import MAX_BYTES
from kroma.imaging.measures.report import QualityReport
from kroma.imaging.measures.request import CheckRequest, FactsRequest, NamedPicture
from kroma.imaging.measures.settings import Verdict
from kroma.pipeline.execution.explain import checked_sentence
from kroma.pipeline.execution.image_job import Candidate, ImageJob
from kroma.pipeline.execution.picture_record import move_picture
from kroma.pipeline.execution.step_tools import StepTools
from kroma.pipeline.planning.plan import PlannedPicture
from kroma.runlog.ids import asset_id
from kroma.runlog.schema import FileLog, GuardFileLog, GuardReportLog, GuardSummaryLog, RankLog
from kroma.runs.models import CandidateStatus
from kroma.storage.base import ObjectStore
from kroma.storage.errors import ObjectNotFoundError, ObjectTooLargeError
from kroma.storage.keys import bad_key

if TYPE_CHECKING:
    from kroma.imaging.measures import remote as measures
    from kroma.imaging.measures.candidate import with_duplicates
else:
    measures = remote("kroma.imaging.measures.remote")
    with_duplicates = remote("kroma.imaging.measures.candidate").with_duplicates


async def check_quality(job: ImageJob, tools: StepTools) -> ImageJob:
    """Make every check of docs/quality.md on the generated pictures, in parallel.

    A candidate with a hard failure moves to ``archive/bad`` and is out; a warning stays in its report.
    """
    recorded = await asyncio.gather(*(_record(candidate, tools) for candidate in job.candidates))
    new = sum(_is_new(candidate) for candidate in recorded)
    if new:
        request = await _facts_request(job, tools)
        # What only one candidate needs is gathered where it is checked.
        facts = request if new == 1 else await tools.cpu.run(measures.gather_facts, request)
        recorded = await asyncio.gather(*(_check(job, one, facts, tools) for one in recorded))
    compared = await _compare(job, recorded, tools)
    candidates = await asyncio.gather(*(_put_away(job, candidate, tools) for candidate in compared))
    return msgspec.structs.replace(job, candidates=tuple(candidates))


def _is_new(candidate: Candidate) -> bool:
    return candidate.status is CandidateStatus.GENERATED and candidate.file is not None


async def _record(candidate: Candidate, tools: StepTools) -> Candidate:
    if not _is_new(candidate):
        return candidate
    return await tools.recorder.find(f"check_quality/{candidate.index}", Candidate) or candidate


async def _facts_request(job: ImageJob, tools: StepTools) -> FactsRequest:
    async def read(pictures: tuple[PlannedPicture, ...]) -> tuple[NamedPicture, ...]:
        found = await asyncio.gather(*(_picture(tools.store, picture) for picture in pictures))
        return tuple(picture for picture in found if picture is not None)

    baseline = () if job.planned.baseline is None else (job.planned.baseline,)
    # Pictures of characters are many, and only a model has a use for them.
    faces = () if tools.face_model is None else job.references
    scene, base, styles, references = await asyncio.gather(
        read((job.planned.scene,)), read(baseline), read(job.styles), read(faces)
    )
    return FactsRequest(
        settings=job.checks,
        scene=scene[0] if scene else None,
        baseline=base[0] if base else None,
        styles=styles,
        references=references,
        face_model=tools.face_model,
    )


async def _picture(store: ObjectStore, picture: PlannedPicture) -> NamedPicture | None:
    """The picture; None when it has gone since, which its checks will say."""
    try:
        return picture.key, await store.get(picture.key, limit_bytes=MAX_BYTES)
    except (ObjectNotFoundError, ObjectTooLargeError):
        return None


async def _check(
    job: ImageJob, candidate: Candidate, facts: bytes | FactsRequest, tools: StepTools
) -> Candidate:
    if not _is_new(candidate) or candidate.file is None:
        return candidate
    started_at = utc_now()
    request = CheckRequest(
        name=candidate.file.path,
        data=await tools.store.get(candidate.file.path, limit_bytes=MAX_BYTES),
        guard=job.guard,
        settings=job.checks,
        stage=job.stage,
        time_of_day=job.time_of_day,
        weather=job.weather,
        size=job.size,
        with_references=bool(job.references),
        face_model=tools.face_model,
    )
    found = await tools.cpu.run(measures.check_candidate, request, facts)
    checked = _with_report(
        msgspec.structs.replace(
            candidate,
            report=_log(found.guard, checked=candidate.file.path),
            rank=RankLog(
                hard_failures=found.guard.hard_failures,
                soft_warnings=found.guard.soft_failures,
                avg_chroma_exceed=found.guard.avg_chroma_exceed,
            ),
            thumbnail=found.thumbnail,
        ),
        found.report,
    )
    await tools.recorder.record(
        f"check_quality/{candidate.index}",
        checked,
        started_at=started_at,
        candidates=(checked,),
        # A picture that is moved next must be found where its record says.
        hold=job.candidate_count == 1 and checked.status is CandidateStatus.DONE,
    )
    return checked


def _with_report(candidate: Candidate, report: QualityReport) -> Candidate:
    rejected = candidate.rank.hard_failures + report.failures > 0
    judged = msgspec.structs.replace(
        candidate,
        status=CandidateStatus.FAILED_OUTPUT_GUARD if rejected else CandidateStatus.DONE,
        quality=report,
    )
    return msgspec.structs.replace(judged, reason=checked_sentence(judged))


async def _compare(job: ImageJob, candidates: list[Candidate], tools: StepTools) -> list[Candidate]:
    """The candidates with the check for copies, each held against those that rank before it."""
    if job.checks.duplicate.verdict is Verdict.OFF:
        return candidates
    # Not by rank, where the least trace of color decides between a sharp picture and its blurred copy.
    best_first = sorted(candidates, key=lambda c: (c.failures, c.warnings, -c.quality_score, c.index))
    told = {c.index: c.quality for c in best_first if c.quality and c.thumbnail}
    if len(told) < 2:  # noqa: PLR2004 - one has nothing to be a copy of
        return candidates
    thumbnails = {candidate.index: candidate.thumbnail for candidate in candidates}
    reports = await tools.cpu.run(
        with_duplicates,
        list(told.values()),
        [thumbnails[index] for index in told],
        list(told),
        job.checks,
    )
    by_index = dict(zip(told, reports, strict=True))
    return [_with_report(c, by_index[c.index]) if c.index in by_index else c for c in candidates]


async def _put_away(job: ImageJob, candidate: Candidate, tools: StepTools) -> Candidate:
    """The candidate without what only its checks needed; moved to the archive when it is out."""
    candidate = msgspec.structs.replace(candidate, thumbnail=b"")
    rejected = candidate.status is CandidateStatus.FAILED_OUTPUT_GUARD
    file, report = candidate.file, candidate.report
    if not rejected or file is None or report is None or report.bad_archive is not None:
        return candidate
    archived = await _archive(job, file, tools)
    said = msgspec.structs.replace(report, bad_archive=archived.path)
    return msgspec.structs.replace(candidate, file=archived, report=said)


async def _archive(job: ImageJob, file: FileLog, tools: StepTools) -> FileLog:
    key = bad_key(job.run_id, file.path)
    await move_picture(tools.store, file.path, key)
    return msgspec.structs.replace(
        file, path=key, asset_id=asset_id(job.project_id, key), storage_uri=tools.store.uri(key)
    )


def _log(report: GuardReport, *, checked: str) -> GuardReportLog:
    return GuardReportLog(
        checked_input=checked,
        summary=GuardSummaryLog(
            total_files=1, hard_failures=report.hard_failures, soft_warnings=report.soft_failures
        ),
        files=[
            GuardFileLog(
                file=report.file,
                chroma_delta=report.chroma_delta,
                grayscale_like=report.grayscale_like,
                hard_fail_reasons=list(report.hard_fail_reasons),
                soft_warnings=list(report.soft_warnings),
                error=report.error or msgspec.UNSET,
            )
        ],
    )
