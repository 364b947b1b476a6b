"""Carrying a sync, restore or verification to its end, under a lease."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec
import structlog
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from kroma.config import Settings
from kroma.db.connection_errors import DATABASE_TROUBLE, is_database_lost
from kroma.db.engine import Database
from kroma.errors import KromaError
from kroma.leases.backoff import next_try
from kroma.leases.claim import ClaimLostError
from kroma.leases.renewer import LeaseRenewer, WorkStoppedError
from kroma.projects.models import Project
from kroma.secrets.keyring import Keyring
from kroma.storage.base import ProjectStores
from kroma.storage.bucket import DELETED_AT_ONCE, Bucket, open_bucket
from kroma.storage.keys import THUMBNAILS_FOLDER
from kroma.sync import claim as claims
from kroma.sync.access import bucket_access
from kroma.sync.claim import AssetMoves, RowNotes, SyncClaim
from kroma.sync.endpoints import SyncEndpoints, check_root, find_endpoints
from kroma.sync.errors import ProjectRootMissingError, UnexpectedSyncError
from kroma.sync.local_files import LocalTree
from kroma.sync.mirror import mirror
from kroma.sync.models import SyncKind
from kroma.sync.progress import Progress, SyncResult
from kroma.sync.restore import restore, verify
from kroma.sync.service import MISSING_ROOT
from kroma.sync.upload import PARTS_AT_ONCE

log = structlog.get_logger(__name__)

WRITE_EVERY: Final = timedelta(seconds=1)


class Synchronizer:
    """Carries claimed syncs."""

    def __init__(
        self,
        *,
        db: Database,
        stores: ProjectStores,
        keyring: Keyring,
        settings: Settings,
        write_every: timedelta = WRITE_EVERY,
        deleted_at_once: int = DELETED_AT_ONCE,
    ) -> None:
        self._db = db
        self._stores = stores
        self._keyring = keyring
        self._settings = settings
        self._write_every = write_every
        self._deleted_at_once = deleted_at_once

    async def carry(
        self, renewer: LeaseRenewer, claim: SyncClaim, *, progress: Progress | None = None
    ) -> timedelta | None:
        """Work on a claimed sync while its lease is renewed; what goes wrong stands in its row.

        Returns:
            How long to wait before the next attempt; None when there is none to make.

        Raises:
            ClaimLostError: Another worker holds a newer claim.
        """
        work = _Work(self._db, claim, progress or Progress())
        bound = log.bind(sync_id=str(claim.sync_id), attempt=claim.attempt)
        try:
            async with renewer.renewing(claim), work.showing(self._write_every):
                moved = await self._carry(work)
            # Not under the renewer: it would take the end of the lease for its loss.
            await claims.end_sync(self._db, claim, work.result, work.progress, moved=moved)
        except WorkStoppedError:
            await claims.end_canceled(self._db, claim, work.result)
        except asyncio.CancelledError:
            await asyncio.shield(claims.give_back(self._db, claim, work.result))
            raise
        except ClaimLostError:
            raise
        except Exception as exc:
            if is_database_lost(exc):
                raise  # nothing can be written; the lease runs out
            if not isinstance(exc, KromaError):
                bound.exception("sync.crashed")
            error = exc if isinstance(exc, KromaError) else UnexpectedSyncError()
            bound.warning("sync.failed", error_code=error.code)
            return await self._fail(work, error)
        else:
            bound.info("sync.ended")
        return None

    async def _fail(self, work: "_Work", error: KromaError) -> timedelta | None:
        again = next_try(error, attempt=work.claim.attempt, is_last=work.claim.is_last_attempt)
        if again is None:
            await claims.fail_sync(self._db, work.claim, error, work.result)
            return None
        await claims.try_later(self._db, work.claim, error, work.result, delay=again.after)
        return again.after

    async def _carry(self, work: "_Work") -> AssetMoves | None:
        """Do it; gives what became of the assets."""
        claim = work.claim
        endpoints = await self._endpoints(claim)
        await claims.write_endpoints(self._db, claim, root=endpoints.root, destination=endpoints.destination)
        try:
            await check_root(self._stores, endpoints, claim.kind)
        except ProjectRootMissingError:
            if not claim.allow_missing:
                raise
            work.result.skipped, work.result.reason = True, MISSING_ROOT
            return None
        access, guard = await bucket_access(self._db, self._keyring, self._settings, endpoints)
        at_once = self._settings.sync.concurrency
        async with open_bucket(
            endpoints.bucket, access, guard=guard, connections=at_once + PARTS_AT_ONCE
        ) as bucket:
            return await self._between(work, endpoints, bucket, at_once=at_once)

    async def _between(
        self, work: "_Work", endpoints: SyncEndpoints, bucket: Bucket, *, at_once: int
    ) -> AssetMoves | None:
        claim, progress = work.claim, work.progress
        real_root = await asyncio.to_thread(Path(endpoints.root).resolve)
        tree = LocalTree(str(real_root), left_out=[THUMBNAILS_FOLDER])
        store = self._stores.open(endpoints.root, real_root=endpoints.registered_root)
        match claim.kind:
            case SyncKind.SYNC:
                mirrored = await mirror(
                    bucket,
                    tree,
                    prefix=endpoints.prefix,
                    at_once=at_once,
                    notes=RowNotes(self._db, claim),
                    progress=progress,
                    result=work.result,
                    dry_run=claim.dry_run,
                    delete_extra=claim.delete_extra,
                    deleted_at_once=self._deleted_at_once,
                )
                if claim.dry_run:
                    return None
                return AssetMoves(
                    destination=endpoints.destination,
                    copied=mirrored.copied,
                    left=mirrored.left,
                    disk_uri=store.uri,
                )
            case SyncKind.RESTORE:
                await restore(
                    bucket,
                    store,
                    tree,
                    prefix=endpoints.prefix,
                    at_once=at_once,
                    progress=progress,
                    result=work.result,
                    dry_run=claim.dry_run,
                    overwrite=claim.overwrite,
                )
            case SyncKind.VERIFY:
                await verify(
                    bucket,
                    tree,
                    prefix=endpoints.prefix,
                    at_once=at_once,
                    progress=progress,
                    result=work.result,
                )
        return None

    async def _endpoints(self, claim: SyncClaim) -> SyncEndpoints:
        """As the project's storage is now: it may have been set right since the last attempt."""
        statement = select(Project).where(Project.id == claim.project_id).options(joinedload(Project.storage))
        async with self._db.transaction() as session:
            project = (await session.scalars(statement)).one()
            return find_endpoints(self._stores, project, project.storage)


class _Work:
    """A sync under way."""

    def __init__(self, db: Database, claim: SyncClaim, progress: Progress) -> None:
        self.claim = claim
        self.progress = progress
        self.result = SyncResult(deleted=claim.deleted, delete_names=[*claim.delete_names])
        self._db = db

    @asynccontextmanager
    async def showing(self, every: timedelta) -> AsyncGenerator[None]:
        """Write the progress to the row while the block runs."""
        writing = asyncio.ensure_future(self._show(every))
        try:
            yield
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _show(self, every: timedelta) -> None:
        shown = Progress()
        while True:
            await asyncio.sleep(every.total_seconds())
            if self.progress == shown:
                continue
            try:
                await claims.write_progress(self._db, self.claim, self.progress)
            except DATABASE_TROUBLE as exc:
                log.warning("sync.progress_not_written", error=type(exc).__name__)
            else:
                shown = msgspec.structs.replace(self.progress)
