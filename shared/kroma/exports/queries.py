"""Reading exports."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.keyset import EVERYTHING, Page, Window
from kroma.db.reader import Reader
from kroma.exports.errors import ExportNotFoundError
from kroma.exports.models import ProjectExport
from kroma.projects.contents import get_in_project, newest_first

_LISTED = newest_first(ProjectExport)


async def list_exports(
    reader: Reader, project_id: UUID, *, window: Window = EVERYTHING
) -> Page[ProjectExport]:
    """The exports of a project, newest first."""
    return await _LISTED.page(reader, window, of=project_id)


async def get_export(source: AsyncSession | Reader, *, slug: str, export_id: str) -> ProjectExport:
    """A project's export.

    Raises:
        ExportNotFoundError: The project or the export is unknown.
    """
    return await get_in_project(
        source, ProjectExport, slug=slug, identifier=export_id, missing=ExportNotFoundError()
    )
