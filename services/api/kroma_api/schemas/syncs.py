"""Bodies of ``/api/projects/{slug}/storage/sync`` and ``.../storage/syncs``."""

from typing import Any, Self

import msgspec

from kroma.sync.models import OPEN_SYNC_STATUSES, SyncJob
from kroma_api.schemas.reply import (
    Id,
    ListReply,
    OptionalId,
    Reply,
    RowView,
    Stamp,
    shown_json,
    shown_stamp,
)


class StartSyncRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/storage/sync``."""

    dry_run: bool | None = None
    """Only say what would be done."""
    delete: bool | None = None
    """Remove objects whose file is gone; nothing else ever deletes one."""
    allow_missing: bool | None = None
    """A project without a folder is skipped instead of refused."""


class SyncProgressView(RowView, frozen=True, kw_only=True):
    """How far the phase is that a sync is in."""

    phase: str
    """`looking`, `comparing`, `copying` or `deleting`; empty before and after."""
    files_total: int
    files_done: int
    bytes_total: int
    bytes_done: int


class SyncView(RowView, frozen=True, kw_only=True):
    """One copy of a project to its bucket, or back, or a comparison of the two."""

    id: Id
    project_id: Id
    run_id: OptionalId
    """The run whose end asked for it."""
    kind: str
    """`sync`, `restore` or `verify`; the last two come from the command line."""
    status: str
    """`queued`, `running`, `done`, `failed` or `canceled`."""
    done: bool
    """Whether it has ended, well or not."""
    dry_run: bool
    delete: bool
    allow_missing: bool
    project_root: str
    destination: str
    """The address in S3: bucket, prefix, and the id of the project."""
    progress: SyncProgressView
    result: Any
    """Numbers and, of a dry run, names of what was done; `skipped` and `reason` when there was no folder."""
    attempts: int
    max_attempts: int
    next_attempt_at: Stamp
    error: str
    """Why the last attempt failed; empty otherwise."""
    error_kind: str
    error_code: str
    requested_by: OptionalId
    created_at: Stamp
    started_at: Stamp
    finished_at: Stamp

    @classmethod
    def of(cls, sync: SyncJob) -> Self:
        return cls.from_row(
            sync,
            done=sync.status not in OPEN_SYNC_STATUSES,
            delete=sync.delete_extra,
            progress=SyncProgressView.from_row(sync),
            result=shown_json(sync.result_json),
            attempts=sync.attempt,
            next_attempt_at=shown_stamp(sync.available_at),
        )


class SyncLinks(msgspec.Struct, frozen=True, kw_only=True):
    """Links to related resources."""

    self: str
    """The sync."""
    cancel: str
    """Ends it early."""


class SyncResponse(Reply, frozen=True, kw_only=True):
    """The sync as it is now."""

    sync: SyncView
    links: SyncLinks

    @classmethod
    def of(cls, sync: SyncJob, slug: str) -> Self:
        base = f"/api/projects/{slug}/storage/syncs/{sync.id}"
        return cls(sync=SyncView.of(sync), links=SyncLinks(self=base, cancel=f"{base}/cancel"))


class ListSyncsResponse(ListReply, frozen=True, kw_only=True):
    """Syncs, newest first."""

    syncs: list[SyncView]
