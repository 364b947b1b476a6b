"""Cancels a run.

Its queued jobs end in the transaction that cancels it. A running job is stopped by its worker, which checks
every second (``kroma.leases.renewer``). After the commit no paid call is sent, because the ledger locks and
reads the run's row in the transaction that marks a call as sent. A call in flight is settled and its picture
kept and logged, even if the run has ended by then (``kroma.pipeline.execution.late_answers``).
"""

from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import or_, select, update

from kroma.audit import service as audit
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.leases.claim import ClaimLostError, lease_is_free
from kroma.pipeline.execution.canceled import CANCELED_REASON
from kroma.pipeline.execution.claim import claim_run
from kroma.pipeline.execution.finish import finish_held_run
from kroma.runs.models import JobStatus, Run, RunJob, RunStatus
from kroma.runs.queries import get_run
from kroma.storage.base import ProjectStores

log = structlog.get_logger(__name__)

_WORKER: Final = "canceling"
"""The lease owner of a run that the canceling request finishes."""


async def cancel_run(
    db: Database, stores: ProjectStores, *, slug: str, run_id: str, actor: UUID | None
) -> Run:
    """Cancel a run, unless it has ended, is being canceled or is being finished.

    Returns:
        The current run: ``canceled`` if none of its jobs was running, else ``canceling``.

    Raises:
        RunNotFoundError: The project or the run is unknown.
    """
    async with db.transaction() as session:
        run = await get_run(session, slug=slug, run_id=run_id)
        if run.status not in {RunStatus.QUEUED, RunStatus.RUNNING}:
            return run
        now = utc_now()
        await session.execute(
            update(RunJob)
            .where(RunJob.run_id == run.id, RunJob.status == JobStatus.QUEUED)
            .values(status=JobStatus.CANCELED, finished_at=now, **CANCELED_REASON)
            .execution_options(synchronize_session=False)
        )
        canceled = await session.scalar(
            update(Run)
            .where(
                Run.id == run.id,
                or_(Run.status == RunStatus.QUEUED, Run.status == RunStatus.RUNNING),
                # A leased run is being finished: nothing is left to cancel.
                lease_is_free(Run),
            )
            .values(status=RunStatus.CANCELING, cancel_requested_at=now)
            .returning(Run.id)
            .execution_options(synchronize_session=False)
        )
        if canceled is not None:
            await audit.record(
                session,
                code="run.cancel",
                project_id=run.project_id,
                actor=actor,
                payload={"run_id": str(run.id)},
            )
    if canceled is not None:
        await _finish_if_idle(db, stores, run.id)
    async with db.transaction() as session:
        return (await session.scalars(select(Run).where(Run.id == run.id))).one()


async def _finish_if_idle(db: Database, stores: ProjectStores, run_id: UUID) -> None:
    """Finish a run without running jobs at once, instead of waiting for a worker."""
    claim = await claim_run(db, run_id, worker=_WORKER)
    if claim is None:
        return
    try:
        await finish_held_run(db, stores, claim)
    except ClaimLostError:
        log.warning("cancel.finished_elsewhere", run_id=str(run_id))
