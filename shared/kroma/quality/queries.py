"""Reading quality reports."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.keyset import EVERYTHING, ListOrder, Page, Window, descending
from kroma.quality.models import QualityReport

_NEWEST = ListOrder("QualityReport", descending(QualityReport.created_at), descending(QualityReport.id))


async def list_quality_reports(
    session: AsyncSession, project_id: UUID, *, window: Window = EVERYTHING
) -> Page[QualityReport]:
    """The quality reports of a project, newest first."""
    statement = select(QualityReport).where(QualityReport.project_id == project_id)
    return await _NEWEST.page(session, statement, window, scope=project_id)
