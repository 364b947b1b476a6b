"""Finds what a lost message or worker left behind: due syncs, and those whose attempts are spent."""

from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.audit import service as audit
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.leases.claim import lease_is_free
from kroma.leases.sweep import BATCH, WORKER_LOST
from kroma.queue.messages import SyncProject
from kroma.sync.claim import END_EVENT, is_claimable
from kroma.sync.models import SyncJob, SyncStatus


async def list_due_syncs(db: Database) -> list[SyncProject]:
    """Every sync that a worker could take now, the oldest first."""
    due = select(SyncJob.id).where(is_claimable()).order_by(SyncJob.created_at).limit(BATCH)
    async with db.transaction() as session:
        return [SyncProject(sync_id=sync_id) for sync_id in await session.scalars(due)]


async def fail_spent_syncs(session: AsyncSession) -> None:
    """End the syncs that nobody carries and nobody may carry on."""
    lost = (
        select(SyncJob)
        .where(
            SyncJob.status == SyncStatus.RUNNING,
            lease_is_free(SyncJob),
            or_(SyncJob.attempt >= SyncJob.max_attempts, SyncJob.cancel_requested_at.is_not(None)),
        )
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    given_back = (
        select(SyncJob)
        .where(and_(SyncJob.status == SyncStatus.QUEUED, SyncJob.cancel_requested_at.is_not(None)))
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    rows = [*await session.scalars(lost), *await session.scalars(given_back)]
    for row in rows:
        is_canceled = row.cancel_requested_at is not None
        row.status = SyncStatus.CANCELED if is_canceled else SyncStatus.FAILED
        row.fence += 1
        row.finished_at = utc_now()
        row.release()
        if not is_canceled:
            row.error = row.error or f"Its worker was lost {row.max_attempts} times"
            row.error_kind, row.error_code = row.error_kind or "infra", row.error_code or WORKER_LOST
        payload = {"sync_id": str(row.id), "kind": row.kind, "status": row.status}
        await audit.record(
            session, code=END_EVENT, project_id=row.project_id, actor=row.requested_by, payload=payload
        )
