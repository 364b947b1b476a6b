"""Reading syncs."""

from uuid import UUID

from sqlalchemy import bindparam
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.keyset import EVERYTHING, Page, Window
from kroma.db.reader import Reader
from kroma.projects.contents import get_in_project, newest_first
from kroma.sync.errors import SyncNotFoundError
from kroma.sync.models import SyncJob, SyncKind, SyncStatus

_LISTED = newest_first(
    SyncJob,
    filters={
        "status": SyncJob.status == bindparam("status"),
        "kind": SyncJob.kind == bindparam("kind"),
    },
    without=[SyncJob.uploads_json],
)


async def list_syncs(
    reader: Reader,
    project_id: UUID,
    *,
    status: SyncStatus | None = None,
    kind: SyncKind | None = None,
    window: Window = EVERYTHING,
) -> Page[SyncJob]:
    """The syncs, restores and verifications of a project, newest first."""
    return await _LISTED.page(reader, window, of=project_id, status=status, kind=kind)


async def get_sync(source: AsyncSession | Reader, *, slug: str, sync_id: str, lock: bool = False) -> SyncJob:
    """A project's sync; see ``get_in_project``.

    Raises:
        SyncNotFoundError: The project or the sync is unknown.
    """
    return await get_in_project(
        source, SyncJob, slug=slug, identifier=sync_id, missing=SyncNotFoundError(), lock=lock
    )
