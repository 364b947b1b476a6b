"""Asking for syncs, and calling them off."""

from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.audit import service as audit
from kroma.auth.caller import OWNER, Caller
from kroma.auth.scopes import Scope
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.projects.queries import get_project
from kroma.projects.roots import settle_roots
from kroma.storage.base import ProjectStores
from kroma.sync.claim import END_EVENT, SyncClaim
from kroma.sync.endpoints import SyncEndpoints, check_root, find_endpoints
from kroma.sync.errors import ProjectRootMissingError, SyncNotAgainError, SyncRunningError
from kroma.sync.models import OPEN_SYNC_STATUSES, SyncJob, SyncKind, SyncStatus
from kroma.sync.progress import SyncResult
from kroma.sync.queries import get_sync

MISSING_ROOT: Final = "missing_local_project_root"


class SyncRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for."""

    kind: SyncKind = SyncKind.SYNC
    dry_run: bool = False
    delete_extra: bool = False
    allow_missing: bool = False
    overwrite: bool = False

    @property
    def deletes(self) -> bool:
        """Whether bytes may be lost at one of the ends."""
        return (self.delete_extra or self.overwrite) and not self.dry_run


class SyncNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A sync that may be asked for: its ends, and whether there is anything to do at all."""

    endpoints: SyncEndpoints
    request: SyncRequest
    is_skipped: bool = False
    """Since the project has no folder, and that was said to be no error."""


async def prepare_sync(
    db: Database, stores: ProjectStores, *, slug: str, request: SyncRequest, caller: Caller = OWNER
) -> SyncNotice:
    """Check the contract's preconditions, in its order.

    Raises:
        InsufficientScopeError: Files or objects would go, and the caller may not delete.
        ProjectNotFoundError: No project has this slug.
        AlreadyInBucketError: This installation keeps no files on disks.
        SyncDisabledError: S3 is switched off for the project.
        BucketNotNamedError: It names no bucket.
        WrongPrefixError: Its prefix makes no key.
        RootNotAllowedError: Its root lies where this installation keeps no projects.
        RootMovedError: Its root leads elsewhere than when it was set.
        RootNotRegisteredError: Its root overlaps that of another project.
        ProjectRootMissingError: It has no folder.
        ProjectRootNotFolderError: Its root is a file.
    """
    if request.deletes:
        caller.require(Scope.ADMIN)
    await settle_roots(db, stores)
    async with db.transaction() as session:
        project = await get_project(session, slug)
        endpoints = find_endpoints(stores, project, project.storage)
    try:
        await check_root(stores, endpoints, request.kind)
    except ProjectRootMissingError:
        if not request.allow_missing:
            raise
        return SyncNotice(endpoints=endpoints, request=request, is_skipped=True)
    return SyncNotice(endpoints=endpoints, request=request)


async def request_sync(
    session: AsyncSession, notice: SyncNotice, *, actor: UUID | None, run_id: UUID | None = None
) -> SyncJob:
    """Queue a sync, or give the one that waits to do the same.

    One that is under way is not given: it may have passed by what is new.
    """
    # Of requests that come at the same time, the second finds the row of the first.
    lock = func.hashtextextended(f"sync {notice.endpoints.project_id}", 0)
    await session.execute(select(func.pg_advisory_xact_lock(lock)))
    waiting = await session.scalar(
        select(SyncJob)
        .where(
            SyncJob.project_id == notice.endpoints.project_id,
            SyncJob.status == SyncStatus.QUEUED,
            SyncJob.fence == 0,
            SyncJob.kind == notice.request.kind,
            SyncJob.dry_run.is_(notice.request.dry_run),
            SyncJob.delete_extra.is_(notice.request.delete_extra),
            SyncJob.allow_missing.is_(notice.request.allow_missing),
            SyncJob.overwrite.is_(notice.request.overwrite),
        )
        .order_by(SyncJob.created_at)
        .limit(1)
    )
    if waiting is not None and not notice.is_skipped:
        return waiting
    row = _new(notice, actor=actor, run_id=run_id)
    await _start(session, row)
    return row


async def begin_sync(
    db: Database, notice: SyncNotice, *, worker: str, lease: timedelta
) -> tuple[SyncJob, SyncClaim | None]:
    """A sync that the caller itself carries now; without a claim when there is nothing to do.

    Raises:
        SyncRunningError: Another one of the project is under way.
    """
    try:
        async with db.transaction() as session:
            row = _new(notice, actor=None, run_id=None)
            if notice.is_skipped:
                await _start(session, row)
                return row, None
            row.status, row.fence, row.attempt, row.max_attempts = SyncStatus.RUNNING, 1, 1, 1
            row.lease_owner, row.started_at = worker, utc_now()
            row.lease_expires_at = utc_now() + lease
            await _start(session, row)
    except IntegrityError as exc:
        raise SyncRunningError(await _running_id(db, notice.endpoints.project_id)) from exc
    return row, SyncClaim.of(row)


async def _start(session: AsyncSession, row: SyncJob) -> None:
    session.add(row)
    await session.flush()
    payload = {
        "sync_id": str(row.id),
        "kind": row.kind,
        "destination": row.destination,
        "dry_run": row.dry_run,
        "delete": row.delete_extra,
        "run_id": None if row.run_id is None else str(row.run_id),
    }
    if row.status == SyncStatus.DONE:
        payload |= {"skipped": True, "reason": MISSING_ROOT}
    await audit.record(
        session,
        code="storage.sync.start",
        project_id=row.project_id,
        actor=row.requested_by,
        payload=payload,
    )


def _new(notice: SyncNotice, *, actor: UUID | None, run_id: UUID | None) -> SyncJob:
    request, endpoints = notice.request, notice.endpoints
    row = SyncJob(
        project_id=endpoints.project_id,
        run_id=run_id,
        requested_by=actor,
        kind=request.kind,
        status=SyncStatus.QUEUED,
        dry_run=request.dry_run,
        delete_extra=request.delete_extra,
        allow_missing=request.allow_missing,
        overwrite=request.overwrite,
        project_root=endpoints.root,
        destination=endpoints.destination,
        fence=0,
        attempt=0,
    )
    if notice.is_skipped:
        row.status, row.started_at, row.finished_at = SyncStatus.DONE, utc_now(), utc_now()
        row.result_json = msgspec.to_builtins(SyncResult(skipped=True, reason=MISSING_ROOT))
    return row


async def _running_id(db: Database, project_id: UUID) -> str:
    async with db.transaction() as session:
        running = await session.scalar(
            select(SyncJob.id).where(SyncJob.project_id == project_id, SyncJob.status == SyncStatus.RUNNING)
        )
    return str(running or "")


async def cancel_sync(db: Database, *, slug: str, sync_id: str, actor: UUID | None) -> SyncJob:
    """End a sync early: at once when it waits, within two seconds when it is under way.

    What is in the bucket by then stays; one that has ended stays as it is.

    Raises:
        SyncNotFoundError: The project or the sync is unknown.
    """
    async with db.transaction() as session:
        row = await get_sync(session, slug=slug, sync_id=sync_id, lock=True)
        if row.status not in OPEN_SYNC_STATUSES or row.cancel_requested_at is not None:
            return row
        row.cancel_requested_at = utc_now()
        await audit.record(
            session,
            code="storage.sync.cancel",
            project_id=row.project_id,
            actor=actor,
            payload={"sync_id": str(row.id)},
        )
        if row.status == SyncStatus.QUEUED:
            row.status, row.finished_at, row.fence = SyncStatus.CANCELED, utc_now(), row.fence + 1
            payload = {"sync_id": str(row.id), "kind": row.kind, "status": row.status}
            await audit.record(
                session, code=END_EVENT, project_id=row.project_id, actor=actor, payload=payload
            )
    return row


async def retry_sync(
    db: Database, stores: ProjectStores, *, slug: str, sync_id: str, caller: Caller = OWNER
) -> SyncJob:
    """Queue a sync that failed or was canceled again; only what is missing then is sent.

    Raises:
        SyncNotFoundError: The project or the sync is unknown.
        SyncNotAgainError: It is open, or done.
        KromaError: As ``prepare_sync``.
    """
    async with db.transaction() as session:
        row = await get_sync(session, slug=slug, sync_id=sync_id)
        if row.status not in {SyncStatus.FAILED, SyncStatus.CANCELED}:
            raise SyncNotAgainError(row.status)
    request = SyncRequest(
        kind=SyncKind(row.kind),
        dry_run=row.dry_run,
        delete_extra=row.delete_extra,
        allow_missing=row.allow_missing,
        overwrite=row.overwrite,
    )
    notice = await prepare_sync(db, stores, slug=slug, request=request, caller=caller)
    async with db.transaction() as session:
        return await request_sync(session, notice, actor=caller.user_id)
