"""Reading cost events."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.costs.models import CostEvent
from kroma.db.ids import is_row
from kroma.db.keyset import EVERYTHING, ListOrder, Page, Window, descending

_NEWEST = ListOrder("CostEvent", descending(CostEvent.created_at), descending(CostEvent.id))


async def list_cost_events(
    session: AsyncSession,
    project_id: UUID,
    *,
    run_id: str | None = None,
    provider: str | None = None,
    window: Window = EVERYTHING,
) -> Page[CostEvent]:
    """The cost events of a project, of a run or a provider's code if given, newest first."""
    statement = select(CostEvent).where(CostEvent.project_id == project_id)
    if run_id is not None:
        statement = statement.where(is_row(CostEvent.run_id, run_id))
    if provider is not None:
        statement = statement.where(CostEvent.provider_code == provider)
    return await _NEWEST.page(session, statement, window, scope=project_id)
