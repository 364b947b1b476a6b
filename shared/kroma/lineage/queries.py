"""Everything that is known of how a picture came to be; what nobody recorded stays empty."""

from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import String, Uuid, bindparam, or_

from kroma.assets.models import Asset
from kroma.assets.queries import get_asset
from kroma.costs.models import CostEvent
from kroma.db.reader import Query, Reader, RowMapper, equals
from kroma.ledger.models import ProviderCall
from kroma.lineage.family import Family, list_ancestors, list_descendants
from kroma.quality.models import QualityReport
from kroma.runlog.schema import InputLog, WordsLog
from kroma.runs.models import Run, RunCandidate, RunJob

_runs = RowMapper(Run, without=[Run.plan_json])
_RUN: Final = Query(_runs, _runs.statement.where(equals(Run.id)))
_JOB: Final = Query[RunJob].where(RunJob, equals(RunJob.id))
_CANDIDATE: Final = Query[RunCandidate].where(RunCandidate, equals(RunCandidate.id))
_reports = RowMapper(QualityReport)
_REPORTS: Final = Query(
    _reports,
    _reports.statement.where(
        equals(QualityReport.project_id),
        or_(
            QualityReport.asset_id == bindparam("asset_id", type_=Uuid()),
            QualityReport.candidate_id == bindparam("candidate_id", type_=Uuid()),
        ),
    ).order_by(QualityReport.created_at, QualityReport.id),
)
_calls = RowMapper(ProviderCall)
_CALLS: Final = Query(
    _calls,
    _calls.statement.where(equals(ProviderCall.job_id), equals(ProviderCall.candidate_index)).order_by(
        ProviderCall.number
    ),
)
_costs = RowMapper(CostEvent)
_COSTS: Final = Query(
    _costs,
    _costs.statement.where(
        equals(CostEvent.project_id),
        equals(CostEvent.run_id),
        CostEvent.job_id == bindparam("job_key", type_=String()),
    ).order_by(CostEvent.created_at, CostEvent.id),
)


class CandidateEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What a candidate's entry of the run log says of its making; logs of the original lack most of it."""

    candidate_index: int = 0
    reason: str = ""
    seed: int | None = None
    provider: str = ""
    model: str = ""
    provider_request_id: str | None = None
    parameters: dict[str, Any] = {}
    reused_from: UUID | None = None


class _JobEntry(msgspec.Struct, frozen=True, kw_only=True):
    inputs: list[InputLog] = []
    candidates: list[msgspec.Raw] = []


class _Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    words: WordsLog | None = None


class _CallNote(msgspec.Struct, frozen=True, kw_only=True):
    """Of which candidate a cost event or its meta speaks."""

    candidate_index: int | None = None
    price: str | None = None


class Cost(NamedTuple):
    """What a candidate cost."""

    events: list[CostEvent]
    """Of the candidate, and of its job where an event names no candidate."""
    total_usd: Decimal | None
    """None is unknown; a candidate without an event cost nothing that was recorded."""


class Lineage(NamedTuple):
    """How a picture came to be."""

    asset: Asset
    parents: Family
    children: Family
    run: Run | None
    """Without its plan."""
    job: RunJob | None
    candidate: RunCandidate | None
    entry: CandidateEntry | None
    """None where there is no candidate, or nothing can be read of it."""
    inputs: list[InputLog]
    """The pictures that the job read, with the checksums they had then: scene, styles, references."""
    words: WordsLog | None
    """The project's texts that the prompt is made of: template, style guide, characters, references."""
    cost: Cost | None
    """None for a picture that no candidate's making paid for."""
    calls: list[ProviderCall]
    """The candidate's calls that cost money."""
    reports: list[QualityReport]


async def get_lineage(reader: Reader, *, slug: str, asset_id: str) -> Lineage:
    """What is known of an asset's making.

    Raises:
        AssetNotFoundError: The project or the asset is unknown.
    """
    asset = await get_asset(reader, slug=slug, asset_id=asset_id)
    candidate = await _one(reader, _CANDIDATE, asset.candidate_id)
    job = await _one(reader, _JOB, asset.job_id or (candidate.job_id if candidate else None))
    run = await _one(reader, _RUN, asset.run_id or (job.run_id if job else None))
    snapshot = _read(run.settings_snapshot_json if run else None, _Snapshot) or _Snapshot()
    job_entry = _read(job.meta_json if job else None, _JobEntry) or _JobEntry()
    entry = None if candidate is None else _entry(candidate, job_entry)
    cost: Cost | None = None
    calls: list[ProviderCall] = []
    if candidate is not None and job is not None:
        cost = await _cost(reader, asset.project_id, job, candidate)
        calls = await _CALLS.all(reader, job_id=job.id, candidate_index=candidate.candidate_index)
    return Lineage(
        asset=asset,
        parents=await list_ancestors(reader, asset),
        children=await list_descendants(reader, asset),
        run=run,
        job=job,
        candidate=candidate,
        entry=entry,
        inputs=job_entry.inputs,
        words=snapshot.words,
        cost=cost,
        calls=calls,
        reports=await _REPORTS.all(
            reader, project_id=asset.project_id, asset_id=asset.id, candidate_id=asset.candidate_id
        ),
    )


async def _one(reader: Reader, query: Query[Any], identifier: UUID | None) -> Any:  # noqa: ANN401 - the query's row
    return None if identifier is None else await query.first(reader, id=identifier)


def _read(raw: object, shape: type[Any]) -> Any:  # noqa: ANN401 - of ``shape``
    """A JSON column as ``shape``; None where it is another one, as in logs of the original."""
    if not isinstance(raw, msgspec.Raw):
        return None
    try:
        return msgspec.json.decode(raw, type=shape)
    except msgspec.DecodeError:
        return None


def _entry(candidate: RunCandidate, job: _JobEntry) -> CandidateEntry | None:
    own: CandidateEntry | None = _read(candidate.meta_json, CandidateEntry)
    if own is not None and own.candidate_index == candidate.candidate_index:
        return own
    listed = (_read(raw, CandidateEntry) for raw in job.candidates)
    return next((one for one in listed if one and one.candidate_index == candidate.candidate_index), None)


async def _cost(reader: Reader, project_id: UUID, job: RunJob, candidate: RunCandidate) -> Cost:
    of_job = await _COSTS.all(reader, project_id=project_id, run_id=job.run_id, job_key=job.job_key)
    notes = [_read(event.meta_json, _CallNote) or _CallNote() for event in of_job]
    mine = [
        (event, note)
        for event, note in zip(of_job, notes, strict=True)
        if note.candidate_index in {None, 0, candidate.candidate_index}
    ]
    is_known = all(note.price != "unknown" for _, note in mine)
    total = sum((event.total_cost_usd for event, _ in mine), Decimal(0)) if is_known else None
    return Cost([event for event, _ in mine], total)
