"""Paid answers that came after their job had ended.

A canceled job does not wait for the call that is in flight: the cancellation takes effect within two
seconds, an answer may take minutes. The call goes on by itself, is settled, and its picture kept. Here it
gets its place: a candidate of the job, in the run's log and, by another ingest of the log, in the tables.
"""

from collections import defaultdict
from datetime import timedelta
from math import inf
from time import monotonic
from typing import Final
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import ARRAY, Select, Uuid, any_, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.engine import Database
from kroma.errors import KromaError
from kroma.ingest.service import ingest_entry
from kroma.ledger.errors import AnswerNotKeptError
from kroma.ledger.models import IN_FLIGHT_CALL_STATUSES, CallStatus, ProviderCall
from kroma.pipeline.execution.answer_store import find_stored_answer
from kroma.pipeline.execution.finish import Outcome, job_entry, run_log
from kroma.pipeline.execution.image_job import Candidate
from kroma.pipeline.execution.job_log import candidate_log
from kroma.pipeline.planning.plan import RunPlan
from kroma.pipeline.planning.project_location import open_planned
from kroma.runlog import reader
from kroma.runlog.ids import stable_id
from kroma.runlog.schema import JobLog
from kroma.runlog.times import iso
from kroma.runlog.writer import encode
from kroma.runs.events import write_event
from kroma.runs.models import CandidateStatus, JobStatus, Run, RunCandidate, RunJob, RunStatus
from kroma.storage.base import ObjectStore, ProjectStores
from kroma.storage.keys import run_log_key

log = structlog.get_logger(__name__)

SEARCH_EVERY: Final = timedelta(hours=1)
"""For calls of workers that ended before they could write them down; a worker's start is a search, too."""
LOOK_BACK: Final = timedelta(days=1)
GONE: Final = "It was charged, and its picture is gone"


_LEFT: Final = (
    select(ProviderCall.id, ProviderCall.run_id, ProviderCall.status, Run.finished_at)
    .join(Run, Run.id == ProviderCall.run_id)
    .where(ProviderCall.id == any_(bindparam("calls", type_=ARRAY(Uuid()))))
)


class LateAnswers:
    """Writes down what came too late for the log of its run."""

    def __init__(self, db: Database, stores: ProjectStores, left: set[UUID]) -> None:
        """Look after calls.

        Args:
            left: The calls of this worker that went on when their job had to stop; ended ones are taken out.
        """
        self._db = db
        self._stores = stores
        self._left = left
        self._searched_at = -inf

    def search_soon(self) -> None:
        """Look through the whole ledger the next time: an answer was found that nobody waited for."""
        self._searched_at = -inf

    async def write_down(self) -> int:
        """Write down every answer that has come.

        Returns:
            How many candidates were added.
        """
        if monotonic() - self._searched_at >= SEARCH_EVERY.total_seconds():
            async with self._db.transaction() as session:
                self._left |= set(await session.scalars(_unlogged()))
            self._searched_at = monotonic()
        added = 0
        for run_id, calls in (await self._come()).items():
            try:
                added += await self._add(run_id)
            except KromaError as exc:
                log.warning("run.late_answer_not_logged", run_id=str(run_id), error=exc.message)
                continue
            except msgspec.ValidationError:
                log.exception("run.late_answer_not_logged", run_id=str(run_id))
            self._left -= calls
        return added

    async def _come(self) -> dict[UUID, set[UUID]]:
        """The calls, by run, that have ended as their runs have; what is gone is forgotten."""
        if not self._left:
            return {}
        ended: defaultdict[UUID, set[UUID]] = defaultdict(set)
        open_calls: set[UUID] = set()
        async with self._db.transaction() as session:
            for row in await session.execute(_LEFT, {"calls": list(self._left)}):
                if row.status in IN_FLIGHT_CALL_STATUSES or row.finished_at is None:
                    open_calls.add(row.id)
                else:
                    ended[row.run_id].add(row.id)
        self._left &= open_calls.union(*ended.values())
        return ended

    async def _add(self, run_id: UUID) -> int:
        async with self._db.transaction() as session:
            # One worker at a time, since each writes the whole log.
            lock = func.pg_advisory_xact_lock(func.hashtextextended(f"late {run_id}", 0))
            await session.execute(select(lock))
            return await self._add_locked(session, run_id)

    async def _add_locked(self, session: AsyncSession, run_id: UUID) -> int:
        run = (await session.scalars(select(Run).where(Run.id == run_id))).one()
        plan = msgspec.convert(run.plan_json, RunPlan)
        store = await open_planned(self._db, self._stores, plan, project_id=run.project_id)
        calls = (
            await session.scalars(select(ProviderCall).where(ProviderCall.id.in_(_unlogged(run_id))))
        ).all()
        if not calls:
            return 0
        jobs = await session.scalars(select(RunJob).where(RunJob.run_id == run_id).order_by(RunJob.ordinal))
        entries = {job.id: await job_entry(session, plan, run, job) for job in jobs}
        for call in calls:
            if call.job_id is not None:
                _join(entries[call.job_id], await _candidate(store, run_id, call))
        outcome = Outcome(
            status=RunStatus(run.status), error=run.error, kind=run.error_kind, code=run.error_code
        )
        key = run_log_key(run_id)
        data = encode(
            run_log(plan, run, list(entries.values()), outcome, finished_at=iso(run.finished_at) or "")
        )
        # Before the commit: if it fails, all of it is done again, with the same ids.
        await store.put(key, data)
        await ingest_entry(session, reader.read(data, source=key), project_id=run.project_id, log_path=key)
        text = f"Answers came after the run was canceled; kept and logged: {len(calls)}"
        await write_event(session, run_id, "notice", {"code": "late_answer", "message": text})
        log.info("run.late_answers_logged", run_id=str(run_id), calls=len(calls))
        return len(calls)


def _unlogged(run_id: UUID | None = None) -> Select[UUID]:
    """Settled calls of canceled jobs that have no such candidate: a run's, or all of late."""
    known = select(RunCandidate.id).where(
        RunCandidate.job_id == ProviderCall.job_id,
        RunCandidate.candidate_index == ProviderCall.candidate_index,
    )
    unlogged = (
        select(ProviderCall.id)
        .join(RunJob, RunJob.id == ProviderCall.job_id)
        .where(
            ProviderCall.status == CallStatus.SETTLED,
            RunJob.status == JobStatus.CANCELED,
            ~known.exists(),
        )
    )
    if run_id is not None:
        return unlogged.where(ProviderCall.run_id == run_id)
    return unlogged.where(ProviderCall.ended_at > func.clock_timestamp() - LOOK_BACK)


async def _candidate(store: ObjectStore, run_id: UUID, call: ProviderCall) -> Candidate:
    found = await find_stored_answer(store, run_id, call.id)
    if found is not None:
        return found.kept
    reason = call.error or GONE
    return Candidate(
        id=stable_id(call.id, "candidate"),
        index=call.candidate_index,
        status=CandidateStatus.FAILED,
        seed=0,
        provider=call.provider_code,
        model=call.model_name,
        reason=reason,
        call_id=call.id,
        request_id=call.request_id,
        cost_usd=None if call.cost_usd is None else str(call.cost_usd),
        error=reason,
        error_code=call.error_code or AnswerNotKeptError.code,
    )


def _join(entry: JobLog, candidate: Candidate) -> None:
    known = [] if entry.candidates is msgspec.UNSET else entry.candidates
    others = [other for other in known if other.candidate_index != candidate.index]
    entry.candidates = sorted([*others, candidate_log(candidate)], key=lambda joined: joined.candidate_index)
