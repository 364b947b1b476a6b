"""Computes rows from a log's entries, without I/O."""

from collections.abc import Iterator
from decimal import Decimal
from uuid import UUID

import msgspec

from kroma.assets.models import AssetKind, LinkType
from kroma.ingest.tables import Row
from kroma.runlog.entries import CandidateEntry, JobEntry, Picture, RunEntry
from kroma.runlog.ids import asset_id, stable_id

REPORT_TYPE = "output_guard"
_DERIVED = {
    "bg_remove": AssetKind.BACKGROUND_REMOVED,
    "bg_refine_openai": AssetKind.BACKGROUND_REFINED,
    "upscale": AssetKind.UPSCALED,
    "color": AssetKind.COLOR_CORRECTED,
}

_encoder = msgspec.json.Encoder()
_ZERO = Decimal(0)


class KnownRows(msgspec.Struct, frozen=True, kw_only=True):
    """Ids of a run's existing rows."""

    jobs: dict[str, UUID] = {}
    """By job key."""
    candidates: dict[tuple[UUID, int], UUID] = {}
    """By job id and candidate index."""
    reports: frozenset[UUID] = frozenset()
    costs: frozenset[UUID] = frozenset()


class _Asset(msgspec.Struct, kw_only=True):
    kind: AssetKind
    picture: Picture
    run_id: UUID | None = None
    job_id: UUID | None = None
    candidate_id: UUID | None = None
    selected_candidate: int | None = None


class RunRows:
    """All rows of one run, with the ids of existing rows where there are some."""

    def __init__(self, entry: RunEntry, *, project_id: UUID, run_id: UUID, known: KnownRows) -> None:
        self._entry = entry
        self._project_id = project_id
        self._run_id = run_id
        self._job_ids = [
            known.jobs.get(job.key) or job.id or stable_id(run_id, "job", job.key) for job in entry.jobs
        ]
        self._candidate_ids = [
            [
                known.candidates.get((job_id, candidate.index))
                or candidate.id
                or stable_id(run_id, "candidate", job.key, candidate.index)
                for candidate in job.candidates
            ]
            for job, job_id in zip(entry.jobs, self._job_ids, strict=True)
        ]

    def assets(self) -> list[Row]:
        """One row per path; an output replaces an input of the same path."""
        drafts: dict[str, _Asset] = {}
        for job in self._entry.jobs:
            for given in job.inputs:
                kind = AssetKind.INPUT if given.role == "scene" else AssetKind.REFERENCE
                drafts.setdefault(given.picture.path, _Asset(kind=kind, picture=given.picture))
        for job, job_id, candidate_ids in self._jobs():
            for candidate, candidate_id in zip(job.candidates, candidate_ids, strict=True):
                for kind, picture in _outputs(candidate):
                    drafts[picture.path] = _Asset(
                        kind=kind,
                        picture=picture,
                        run_id=self._run_id,
                        job_id=job_id,
                        candidate_id=candidate_id,
                    )
            self._mark_final(drafts, job, job_id, candidate_ids)
        return [self._asset(draft) for draft in drafts.values()]

    def _mark_final(
        self, drafts: dict[str, _Asset], job: JobEntry, job_id: UUID, candidate_ids: list[UUID]
    ) -> None:
        if job.final is None:
            return
        draft = drafts.get(job.final.path)
        if draft is None or draft.job_id != job_id:
            ids = zip(job.candidates, candidate_ids, strict=True)
            winner = next((id_ for candidate, id_ in ids if candidate.index == job.selected_candidate), None)
            draft = _Asset(
                kind=AssetKind.JOB_FINAL_OUTPUT,
                picture=job.final,
                run_id=self._run_id,
                job_id=job_id,
                candidate_id=winner,
            )
            drafts[job.final.path] = draft
        # The winner's picture keeps its candidate id, which the original lost here.
        draft.kind = AssetKind.JOB_FINAL_OUTPUT
        draft.selected_candidate = job.selected_candidate

    def _asset(self, draft: _Asset) -> Row:
        path, file = draft.picture.path, draft.picture.file
        selected = draft.selected_candidate
        metadata = {} if selected is None else {"selected_candidate": selected}
        origin = (draft.run_id, draft.job_id, draft.candidate_id, _json(metadata))
        if file is None:
            new_id = asset_id(self._project_id, path)
            unknown = (None, None, None, None, None)
            return (new_id, self._project_id, draft.kind, path, path, "local", *unknown, *origin)
        backend = "s3" if file.storage_uri.startswith("s3://") else "local"
        return (
            file.asset_id,
            self._project_id,
            draft.kind,
            file.storage_uri,
            path,
            backend,
            file.mime_type,
            file.width,
            file.height,
            file.size_bytes,
            file.sha256,
            *origin,
        )

    def jobs(self, assets: dict[str, UUID]) -> list[Row]:
        return [
            (
                job_id,
                self._run_id,
                ordinal,
                job.key,
                job.status,
                job.prompt,
                job.selected_candidate,
                _asset_of(assets, job.final),
                job.final_output,
                _json(job.meta),
                job.attempts,
                job.error,
                job.error_kind,
                job.error_code,
                job.started_at,
                job.finished_at,
            )
            for ordinal, (job, job_id, _) in enumerate(self._jobs())
        ]

    def candidates(self, assets: dict[str, UUID]) -> list[Row]:
        return [
            (
                candidate_id,
                job_id,
                candidate.index,
                candidate.status,
                _asset_of(assets, candidate.generated),
                _final_asset(assets, candidate),
                candidate.output,
                candidate.final_output,
                candidate.rank.hard_failures,
                candidate.rank.soft_warnings,
                _decimal(candidate.rank.avg_chroma_exceed),
                _json(candidate.meta),
            )
            for _, job_id, candidate, candidate_id in self._candidates()
        ]

    def reports(self, assets: dict[str, UUID]) -> list[Row]:
        """One report per candidate, then the run's."""
        rows: list[Row] = [
            (
                stable_id(self._run_id, "report", job.key, candidate.index),
                self._project_id,
                self._run_id,
                job_id,
                candidate_id,
                _final_asset(assets, candidate) or _asset_of(assets, candidate.generated),
                REPORT_TYPE,
                candidate.rank.hard_failures,
                candidate.rank.soft_warnings,
                _decimal(candidate.rank.avg_chroma_exceed),
                _json(
                    {
                        "status": candidate.status,
                        "rank": candidate.rank,
                        "output_path": candidate.output,
                        "final_output_path": candidate.final_output,
                        **candidate.report,
                    }
                ),
            )
            for job, job_id, candidate, candidate_id in self._candidates()
        ]
        if self._entry.output_guard is not None:
            summary = {"scope": "run", "output_guard": self._entry.output_guard}
            if self._entry.checks is not None:
                summary["quality"] = self._entry.checks
            ids = (stable_id(self._run_id, "report"), self._project_id, self._run_id, None, None, None)
            rows.append((*ids, REPORT_TYPE, 0, 0, _ZERO, _json(summary)))
        return rows

    def links(self, assets: dict[str, UUID]) -> list[Row]:
        """From each input to the generated picture, and along each candidate's chain."""
        found: dict[tuple[UUID, UUID, LinkType], None] = {}
        for job in self._entry.jobs:
            for parent, child, kind in _descent(job):
                ends = assets[parent.path], assets[child.path]
                if ends[0] != ends[1]:
                    found[*ends, kind] = None
        return [
            (
                stable_id(self._project_id, "link", parent.hex, child.hex, kind),
                self._project_id,
                parent,
                child,
                kind,
            )
            for parent, child, kind in found
        ]

    def costs(self) -> list[Row]:
        return [
            (
                cost.id or stable_id(self._run_id, "cost", number),
                self._project_id,
                self._run_id,
                cost.job_key,
                cost.provider,
                cost.model,
                cost.operation,
                cost.units,
                cost.total_usd / cost.units if cost.units else _ZERO,
                cost.total_usd,
                cost.currency,
                _json(cost.meta),
            )
            for number, cost in enumerate(self._entry.costs, 1)
        ]

    def _jobs(self) -> Iterator[tuple[JobEntry, UUID, list[UUID]]]:
        return zip(self._entry.jobs, self._job_ids, self._candidate_ids, strict=True)

    def _candidates(self) -> Iterator[tuple[JobEntry, UUID, CandidateEntry, UUID]]:
        for job, job_id, candidate_ids in self._jobs():
            for candidate, candidate_id in zip(job.candidates, candidate_ids, strict=True):
                yield job, job_id, candidate, candidate_id


def _outputs(candidate: CandidateEntry) -> Iterator[tuple[AssetKind, Picture]]:
    if candidate.generated is not None:
        yield AssetKind.CANDIDATE_OUTPUT, candidate.generated
    if candidate.last is not None:
        yield AssetKind.CANDIDATE_FINAL_OUTPUT, candidate.last
    for made in candidate.chain:
        if candidate.last is None or made.picture.path != candidate.last.path:
            yield _DERIVED[made.step], made.picture


def _descent(job: JobEntry) -> Iterator[tuple[Picture, Picture, LinkType]]:
    for candidate in job.candidates:
        first = candidate.generated or candidate.last
        if first is None:
            continue
        for given in job.inputs:
            kind = LinkType.DERIVED_FROM if given.role == "scene" else LinkType.REFERENCE_OF
            yield given.picture, first, kind
        source = first
        for made in candidate.chain:
            yield source, made.picture, LinkType.DERIVED_FROM
            source = made.picture
        if candidate.last is not None:
            yield source, candidate.last, LinkType.DERIVED_FROM
        if job.final is not None and candidate.index == job.selected_candidate:
            yield candidate.last or first, job.final, LinkType.DERIVED_FROM


def _final_asset(assets: dict[str, UUID], candidate: CandidateEntry) -> UUID | None:
    if candidate.final_output is None:
        return None
    return _asset_of(assets, candidate.last or candidate.generated)


def _asset_of(assets: dict[str, UUID], picture: Picture | None) -> UUID | None:
    return None if picture is None else assets[picture.path]


def _decimal(value: float) -> Decimal:
    return Decimal(str(value)) if value else _ZERO


def _json(value: object) -> str:
    return _encoder.encode(value).decode()
