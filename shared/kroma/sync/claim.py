"""Taking a sync to carry it: a row lock to decide, a lease to hold, a fence to write.

As with jobs (``kroma.pipeline.execution.claim``), and renewed by the same renewer. An index holds that a
project has one at a time.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, ClassVar, Final
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import ColumnElement, and_, func, or_, select, type_coerce, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from kroma.assets.models import Asset
from kroma.audit import service as audit
from kroma.db.engine import Database
from kroma.errors import KromaError
from kroma.leases.claim import RELEASED, LeaseTable, claimed, held_by, is_due, lease_is_free
from kroma.sync.models import SyncJob, SyncKind, SyncStatus
from kroma.sync.progress import Progress, SyncResult

log = structlog.get_logger(__name__)

END_EVENT: Final = "storage.sync.end"
_ASSETS_AT_ONCE: Final = 1000
_RECENT: Final = 20
"""Syncs of a project whose uploads may still be open; older ones are begun anew."""


class SyncClaim(msgspec.Struct, frozen=True, kw_only=True):
    """The right to carry a sync until the lease ends."""

    lease_table: ClassVar = LeaseTable(
        name="sync_jobs", stop="CASE WHEN leased.cancel_requested_at IS NOT NULL THEN 'canceled' END"
    )
    sync_id: UUID
    project_id: UUID
    requested_by: UUID | None
    kind: SyncKind
    dry_run: bool
    delete_extra: bool
    allow_missing: bool
    overwrite: bool
    fence: int
    attempt: int
    """This attempt, from 1."""
    max_attempts: int
    worker: str
    """Whose lease it is."""
    deleted: int
    """Objects that earlier attempts deleted."""
    delete_names: list[str]
    """The first of these."""

    @property
    def row_id(self) -> UUID:
        """The sync."""
        return self.sync_id

    @property
    def is_last_attempt(self) -> bool:
        """Whether a failure now is the end."""
        return self.attempt >= self.max_attempts

    @classmethod
    def of(cls, row: SyncJob) -> "SyncClaim":
        """What a row that was just claimed allows."""
        earlier = msgspec.convert(row.result_json or {}, SyncResult)
        return cls(
            sync_id=row.id,
            project_id=row.project_id,
            requested_by=row.requested_by,
            kind=SyncKind(row.kind),
            dry_run=row.dry_run,
            delete_extra=row.delete_extra,
            allow_missing=row.allow_missing,
            overwrite=row.overwrite,
            fence=row.fence,
            attempt=row.attempt,
            max_attempts=row.max_attempts,
            worker=row.lease_owner or "",
            deleted=earlier.deleted,
            delete_names=earlier.delete_names,
        )


def is_claimable() -> ColumnElement[bool]:
    """Queued and due while no other of its project runs, or running under a lease that has ended."""
    other = aliased(SyncJob)
    runs_beside = (
        select(other.id)
        .where(other.project_id == SyncJob.project_id, other.status == SyncStatus.RUNNING)
        .exists()
    )
    return and_(
        or_(
            and_(
                SyncJob.status == SyncStatus.QUEUED,
                is_due(SyncJob),
                ~runs_beside,
            ),
            and_(SyncJob.status == SyncStatus.RUNNING, lease_is_free(SyncJob)),
        ),
        SyncJob.attempt < SyncJob.max_attempts,
        SyncJob.cancel_requested_at.is_(None),
    )


async def claim_sync(db: Database, sync_id: UUID, *, worker: str, lease: timedelta) -> SyncClaim | None:
    """Claim a sync.

    Returns:
        None when it has ended, is not due, or another of its project is under way.
    """
    free = select(SyncJob.id).where(SyncJob.id == sync_id, is_claimable()).with_for_update(skip_locked=True)
    statement = (
        update(SyncJob)
        .where(SyncJob.id.in_(free.scalar_subquery()))
        .values(
            status=SyncStatus.RUNNING,
            **claimed(SyncJob, worker=worker, lease=lease),
            started_at=func.coalesce(SyncJob.started_at, func.clock_timestamp()),
        )
        .returning(SyncJob)
    )
    try:
        async with db.transaction() as session:
            row = await session.scalar(statement, execution_options={"synchronize_session": False})
            return None if row is None else SyncClaim.of(row)
    except IntegrityError:
        return None  # two of one project were claimed in one moment: this one waits


async def _write(session: AsyncSession, claim: SyncClaim, values: Mapping[str, object]) -> bool:
    """Whether the claim still held, so that the values were written."""
    statement = (
        update(SyncJob)
        .where(
            *held_by(SyncJob, row_id=claim.sync_id, fence=claim.fence, worker=claim.worker),
            SyncJob.status == SyncStatus.RUNNING,
        )
        .values(**values)
        .returning(SyncJob.id)
    )
    written = await session.scalar(statement, execution_options={"synchronize_session": False})
    if written is None:
        log.info("sync.outcome_dropped", sync_id=str(claim.sync_id))
    return written is not None


async def write_endpoints(db: Database, claim: SyncClaim, *, root: str, destination: str) -> None:
    """Say which places it is between, as they are now."""
    async with db.transaction() as session:
        await _write(session, claim, {"project_root": root, "destination": destination})


async def write_progress(db: Database, claim: SyncClaim, progress: Progress) -> None:
    """Say how far it is."""
    async with db.transaction() as session:
        await _write(session, claim, msgspec.structs.asdict(progress))


async def end_sync(
    db: Database,
    claim: SyncClaim,
    result: SyncResult,
    progress: Progress,
    *,
    moved: "AssetMoves | None" = None,
) -> None:
    """Set the good end, with where its assets are now and its entry in the trail."""
    async with db.transaction() as session:
        values = {
            **msgspec.structs.asdict(progress),
            "phase": "",
            "result_json": msgspec.to_builtins(result),
            "error": None,
            "error_kind": None,
            "error_code": None,
            **_ended(SyncStatus.DONE),
        }
        if await _write(session, claim, values):
            if moved is not None:
                await _move_assets(session, claim.project_id, moved)
            await _audit_end(session, claim, SyncStatus.DONE, result=result)


async def fail_sync(db: Database, claim: SyncClaim, error: KromaError, result: SyncResult) -> None:
    """Set the bad end."""
    async with db.transaction() as session:
        values = {**_error(error), "result_json": msgspec.to_builtins(result), **_ended(SyncStatus.FAILED)}
        if await _write(session, claim, values):
            await _audit_end(session, claim, SyncStatus.FAILED, result=result, error_code=error.code)


async def end_canceled(db: Database, claim: SyncClaim, result: SyncResult) -> None:
    """Set the end that somebody asked for."""
    async with db.transaction() as session:
        values = {"result_json": msgspec.to_builtins(result), **_ended(SyncStatus.CANCELED)}
        if await _write(session, claim, values):
            await _audit_end(session, claim, SyncStatus.CANCELED, result=result)


async def try_later(
    db: Database, claim: SyncClaim, error: KromaError, result: SyncResult, *, delay: timedelta
) -> None:
    """Give it back for another attempt after a while."""
    async with db.transaction() as session:
        values = {**_error(error), **_queued(), "result_json": msgspec.to_builtins(result)}
        await _write(session, claim, {**values, "available_at": func.clock_timestamp() + delay})


async def give_back(db: Database, claim: SyncClaim, result: SyncResult | None = None) -> None:
    """Give it back because its worker stops, which uses up no attempt."""
    async with db.transaction() as session:
        values = {} if result is None else {"result_json": msgspec.to_builtins(result)}
        await _write(session, claim, {**_queued(), **values, "attempt": claim.attempt - 1})


class RowNotes:
    """The uploads in parts that a project's syncs began; implements ``UploadNotes``."""

    def __init__(self, db: Database, claim: SyncClaim) -> None:
        self._db = db
        self._claim = claim

    async def find_known(self) -> Mapping[str, str]:
        statement = (
            select(SyncJob.uploads_json)
            .where(SyncJob.project_id == self._claim.project_id)
            .order_by(SyncJob.created_at.desc())
            .limit(_RECENT)
        )
        async with self._db.transaction() as session:
            rows = await session.scalars(statement)
            return {upload_id: sha256 for row in rows for upload_id, sha256 in row.items()}

    async def note_begun(self, upload_id: str, sha256: str) -> None:
        note = type_coerce({upload_id: sha256}, JSONB)
        async with self._db.transaction() as session:
            await _write(session, self._claim, {"uploads_json": SyncJob.uploads_json.op("||")(note)})


class AssetMoves(msgspec.Struct, frozen=True, kw_only=True):
    """Which assets of a project have a copy now."""

    destination: str
    copied: list[str]
    """``rel_path`` of files in the bucket."""
    left: frozenset[str]
    """Keys of other objects that are there."""
    disk_uri: Callable[[str], str]
    """``storage_uri`` on the disk of a ``rel_path``."""


async def _move_assets(session: AsyncSession, project_id: UUID, moved: AssetMoves) -> None:
    # Most are where they were: one read tells which are not, whatever the project's size.
    statement = select(Asset.rel_path).where(
        Asset.project_id == project_id,
        Asset.storage_uri != func.concat(moved.destination, Asset.rel_path),
    )
    elsewhere = set(await session.scalars(statement))
    arrived = [path for path in moved.copied if path in elsewhere]
    for start in range(0, len(arrived), _ASSETS_AT_ONCE):
        await session.execute(
            update(Asset)
            .where(
                Asset.project_id == project_id, Asset.rel_path.in_(arrived[start : start + _ASSETS_AT_ONCE])
            )
            .values(storage_uri=func.concat(moved.destination, Asset.rel_path), storage_backend="s3")
            .execution_options(synchronize_session=False)
        )
    # Not only what this attempt deleted: an earlier one may have ended before it could say so.
    shown = await session.execute(
        select(Asset.id, Asset.rel_path, Asset.storage_uri).where(
            Asset.project_id == project_id,
            func.starts_with(Asset.storage_uri, moved.destination),
        )
    )
    present = moved.left.union(moved.copied)
    gone = [
        {"id": asset_id, "storage_uri": moved.disk_uri(path), "storage_backend": "local"}
        for asset_id, path, uri in shown
        if uri.removeprefix(moved.destination) not in present
    ]
    if gone:
        await session.execute(update(Asset), gone)


async def _audit_end(
    session: AsyncSession,
    claim: SyncClaim,
    status: SyncStatus,
    *,
    result: SyncResult | None = None,
    error_code: str | None = None,
) -> None:
    told: dict[str, Any] = {} if result is None else msgspec.to_builtins(result)
    counts = {name: value for name, value in told.items() if not isinstance(value, list)}
    payload = {"sync_id": str(claim.sync_id), "kind": claim.kind, "status": status, **counts}
    if error_code is not None:
        payload["error_code"] = error_code
    await audit.record(
        session, code=END_EVENT, project_id=claim.project_id, actor=claim.requested_by, payload=payload
    )


def _ended(status: SyncStatus) -> dict[str, Any]:
    return {
        "status": status,
        "finished_at": func.clock_timestamp(),
        "available_at": None,
        **RELEASED,
    }


def _queued() -> dict[str, Any]:
    return {"status": SyncStatus.QUEUED, **RELEASED}


def _error(error: KromaError) -> dict[str, Any]:
    return {"error": error.message, "error_kind": error.kind, "error_code": error.code}
