"""Reading exports."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.keyset import EVERYTHING, ListOrder, Page, Window, descending
from kroma.exports.errors import ExportNotFoundError
from kroma.exports.models import ProjectExport
from kroma.projects.contents import get_in_project

_NEWEST = ListOrder("ProjectExport", descending(ProjectExport.created_at), descending(ProjectExport.id))


async def list_exports(
    session: AsyncSession, project_id: UUID, *, window: Window = EVERYTHING
) -> Page[ProjectExport]:
    """The exports of a project, newest first."""
    statement = select(ProjectExport).where(ProjectExport.project_id == project_id)
    return await _NEWEST.page(session, statement, window, scope=project_id)


async def get_export(session: AsyncSession, *, slug: str, export_id: str) -> ProjectExport:
    """A project's export.

    Raises:
        ExportNotFoundError: The project or the export is unknown.
    """
    return await get_in_project(
        session, ProjectExport, slug=slug, identifier=export_id, missing=ExportNotFoundError()
    )
