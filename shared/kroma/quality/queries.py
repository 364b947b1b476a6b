"""Reading quality reports."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.quality.models import QualityReport


async def list_quality_reports(
    session: AsyncSession, project_id: UUID, *, limit: int
) -> Sequence[QualityReport]:
    """The newest quality reports of a project."""
    statement = (
        select(QualityReport)
        .where(QualityReport.project_id == project_id)
        .order_by(QualityReport.created_at.desc(), QualityReport.id.desc())
        .limit(limit)
    )
    return (await session.scalars(statement)).all()
