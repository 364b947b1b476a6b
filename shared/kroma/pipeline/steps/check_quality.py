"""Judge every generated candidate before anything is spent on it; reject what fails hard."""

import asyncio

import msgspec

from kroma.db.base import utc_now
from kroma.imaging import guard
from kroma.pipeline.image_job import Candidate, ImageJob
from kroma.pipeline.record import move_picture
from kroma.pipeline.steps.inputs import INPUT_LIMIT_BYTES
from kroma.pipeline.tools import StepTools
from kroma.runlog.ids import asset_id
from kroma.runlog.schema import FileLog, GuardFileLog, GuardReportLog, GuardSummaryLog, RankLog
from kroma.runs.models import CandidateStatus
from kroma.storage.keys import bad_key


async def check_quality(job: ImageJob, tools: StepTools) -> ImageJob:
    """Run the colour guard (pipeline.md 6.1) on the generated pictures, in parallel.

    A candidate with a hard failure moves to ``archive/bad`` and is out; a warning stays in its report.
    """
    candidates = await asyncio.gather(*(_checked(job, candidate, tools) for candidate in job.candidates))
    return msgspec.structs.replace(job, candidates=tuple(candidates))


async def _checked(job: ImageJob, candidate: Candidate, tools: StepTools) -> Candidate:
    if candidate.status is not CandidateStatus.GENERATED or candidate.file is None:
        return candidate
    name = f"check_quality/{candidate.index}"
    if (recorded := await tools.recorder.find(name, Candidate)) is not None:
        return recorded
    started_at = utc_now()
    data = await tools.store.get(candidate.file.path, limit_bytes=INPUT_LIMIT_BYTES)
    report = await tools.cpu.run(guard.check, data, job.guard, name=candidate.file.path)
    rejected = report.hard_failures > 0
    file = await _archived(job, candidate.file, tools) if rejected else candidate.file
    checked = msgspec.structs.replace(
        candidate,
        status=CandidateStatus.FAILED_OUTPUT_GUARD if rejected else CandidateStatus.DONE,
        file=file,
        report=_log(report, checked=candidate.file.path, archived=file.path if rejected else None),
        rank=RankLog(
            hard_failures=report.hard_failures,
            soft_warnings=report.soft_failures,
            avg_chroma_exceed=report.avg_chroma_exceed,
        ),
        reason=_sentence(report, job.guard.max_chroma_delta),
    )
    await tools.recorder.record(name, checked, started_at=started_at, candidates=(checked,))
    return checked


async def _archived(job: ImageJob, file: FileLog, tools: StepTools) -> FileLog:
    key = bad_key(job.run_id, file.path)
    await move_picture(tools.store, file.path, key)
    return msgspec.structs.replace(
        file, path=key, asset_id=asset_id(job.project_id, key), storage_uri=tools.store.uri(key)
    )


def _log(report: guard.GuardReport, *, checked: str, archived: str | None) -> GuardReportLog:
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
        bad_archive=archived,
    )


def _sentence(report: guard.GuardReport, threshold: float) -> str:
    if report.chroma_delta is None:
        return "The picture could not be read."
    measured = f"colour {report.chroma_delta:g} against a threshold of {threshold:g}"
    if report.hard_fail_reasons:
        return f"Rejected: {measured}."
    if report.soft_warnings:
        return f"Warning: {measured}."
    return f"Passed: {measured}."
