"""Reading cost events."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.costs.models import CostEvent


async def list_cost_events(session: AsyncSession, project_id: UUID, *, limit: int) -> Sequence[CostEvent]:
    """The newest cost events of a project."""
    statement = (
        select(CostEvent)
        .where(CostEvent.project_id == project_id)
        .order_by(CostEvent.created_at.desc(), CostEvent.id.desc())
        .limit(limit)
    )
    return (await session.scalars(statement)).all()
