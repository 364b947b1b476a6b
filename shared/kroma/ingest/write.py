"""Writes the rows of one run: inserts new ones with COPY, updates existing ones that differ."""

import asyncio
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, cast
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Uuid, all_, delete, select, update
from sqlalchemy import cast as cast_sql
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from kroma.costs.models import CostEvent
from kroma.ingest import tables
from kroma.ingest.rows import REPORT_TYPE, KnownRows, RunRows
from kroma.ingest.tables import BulkConnection, Row, Table
from kroma.quality.models import QualityReport
from kroma.runlog.entries import RunEntry
from kroma.runs.models import Run, RunCandidate, RunJob

# The steps of a run of Kroma wrote these rows already; its log adds its entries and what was missing.
_REPLACED_IN_OURS = {"run_jobs": ["meta_json"], "run_candidates": ["meta_json"]}
_FILLED_IN_OURS = {
    "run_jobs": ["selected_candidate_index", "final_asset_id", "final_output", "started_at", "finished_at"],
    "run_candidates": ["output_asset_id", "final_asset_id", "output_path", "final_output_path"],
}

_ORDINAL_SHIFT = 2**30


class RowCounts(NamedTuple):
    """How many rows of each kind a log has, new or not."""

    jobs: int
    candidates: int
    assets_upserted: int
    quality_reports_written: int
    cost_events_written: int


async def write_rows(session: AsyncSession, entry: RunEntry, run: Run, *, is_new: bool) -> RowCounts:
    """Write all rows of ``run`` in the caller's transaction.

    Raises:
        asyncpg.PostgresError: The database refuses a row.
    """
    raw = await (await session.connection()).get_raw_connection()
    connection = cast("BulkConnection", raw.driver_connection)
    known = KnownRows() if is_new else await _read_known_rows(session, run.id)
    rows = await asyncio.to_thread(RunRows, entry, project_id=run.project_id, run_id=run.id, known=known)
    asset_rows = await asyncio.to_thread(rows.assets)
    assets, new_assets = await tables.merge_assets(connection, asset_rows)
    jobs = await asyncio.to_thread(rows.jobs, assets)
    candidates = await asyncio.to_thread(rows.candidates, assets)
    reports = await asyncio.to_thread(rows.reports, assets)
    costs = await asyncio.to_thread(rows.costs)
    ours = entry.is_ours
    if not is_new and not ours:
        await _delete_missing(session, run.id, jobs=jobs, candidates=candidates, reports=reports, costs=costs)
    await _merge(connection, tables.JOBS, jobs, known=set(known.jobs.values()), ours=ours)
    await _merge(connection, tables.CANDIDATES, candidates, known=set(known.candidates.values()), ours=ours)
    await _merge(connection, tables.REPORTS, reports, known=known.reports, ours=ours)
    await _merge(connection, tables.COSTS, costs, known=known.costs, ours=ours)
    links = await asyncio.to_thread(rows.links, assets)
    await tables.merge_links(connection, links, new_assets=new_assets)
    return RowCounts(len(jobs), len(candidates), len(asset_rows), len(reports), len(costs))


async def _read_known_rows(session: AsyncSession, run_id: UUID) -> KnownRows:
    jobs = await session.execute(select(RunJob.job_key, RunJob.id).where(RunJob.run_id == run_id))
    candidates = await session.execute(
        select(RunCandidate.job_id, RunCandidate.candidate_index, RunCandidate.id)
        .join(RunJob, RunJob.id == RunCandidate.job_id)
        .where(RunJob.run_id == run_id)
    )
    reports = await session.scalars(select(QualityReport.id).where(QualityReport.run_id == run_id))
    costs = await session.scalars(select(CostEvent.id).where(CostEvent.run_id == run_id))
    return KnownRows(
        jobs={row.job_key: row.id for row in jobs},
        candidates={(row.job_id, row.candidate_index): row.id for row in candidates},
        reports=frozenset(reports),
        costs=frozenset(costs),
    )


async def _merge(
    connection: BulkConnection, table: Table, rows: Sequence[Row], *, known: AbstractSet[UUID], ours: bool
) -> None:
    if not known:
        await tables.insert_rows(connection, table, rows)
        return
    existing = [row for row in rows if row[0] in known]
    replace = _REPLACED_IN_OURS.get(table.name, []) if ours else list(table.columns)[1:]
    fill = _FILLED_IN_OURS.get(table.name, []) if ours else []
    if replace or fill:
        await tables.update_rows(connection, table, existing, replace=replace, fill=fill)
    await tables.insert_rows(connection, table, [row for row in rows if row[0] not in known])


async def _delete_missing(
    session: AsyncSession,
    run_id: UUID,
    *,
    jobs: Sequence[Row],
    candidates: Sequence[Row],
    reports: Sequence[Row],
    costs: Sequence[Row],
) -> None:
    """Delete rows that an edited log of the original no longer has; reports of other types stay."""
    of_run = select(RunJob.id).where(RunJob.run_id == run_id).scalar_subquery()
    for statement in (
        delete(CostEvent).where(CostEvent.run_id == run_id, _is_none_of(CostEvent.id, costs)),
        delete(QualityReport).where(
            QualityReport.run_id == run_id,
            QualityReport.report_type == REPORT_TYPE,
            _is_none_of(QualityReport.id, reports),
        ),
        delete(RunCandidate).where(RunCandidate.job_id.in_(of_run), _is_none_of(RunCandidate.id, candidates)),
        delete(RunJob).where(RunJob.run_id == run_id, _is_none_of(RunJob.id, jobs)),
        # Ordinals are unique: shift them all, so that two jobs may swap theirs.
        update(RunJob).where(RunJob.run_id == run_id).values(ordinal=RunJob.ordinal + _ORDINAL_SHIFT),
    ):
        await session.execute(statement, execution_options={"synchronize_session": False})


def _is_none_of(column: InstrumentedAttribute[UUID], rows: Sequence[Row]) -> ColumnElement[bool]:
    # One array, since a statement takes at most 32,767 parameters.
    return column != all_(cast_sql([row[0] for row in rows], ARRAY(Uuid)))
