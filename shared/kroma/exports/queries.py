"""Reading exports."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.exports.errors import ExportNotFoundError
from kroma.exports.models import ProjectExport
from kroma.projects.contents import get_in_project


async def list_exports(session: AsyncSession, project_id: UUID, *, limit: int) -> Sequence[ProjectExport]:
    """The newest exports of a project."""
    statement = (
        select(ProjectExport)
        .where(ProjectExport.project_id == project_id)
        .order_by(ProjectExport.created_at.desc(), ProjectExport.id.desc())
        .limit(limit)
    )
    return (await session.scalars(statement)).all()


async def get_export(session: AsyncSession, *, slug: str, export_id: str) -> ProjectExport:
    """A project's export.

    Raises:
        ExportNotFoundError: The project or the export is unknown.
    """
    return await get_in_project(
        session, ProjectExport, slug=slug, identifier=export_id, missing=ExportNotFoundError()
    )
