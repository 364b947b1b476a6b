"""Reading the trail."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.audit.models import AuditEvent
from kroma.db.keyset import EVERYTHING, ListOrder, Page, Window, descending

_NEWEST = ListOrder("AuditEvent", descending(AuditEvent.created_at), descending(AuditEvent.id))


async def list_audit_events(
    session: AsyncSession, project_id: UUID, *, event_code: str | None = None, window: Window = EVERYTHING
) -> Page[AuditEvent]:
    """The events of a project, newest first; ``event_code`` keeps those of one kind."""
    statement = select(AuditEvent).where(AuditEvent.project_id == project_id)
    if event_code is not None:
        statement = statement.where(AuditEvent.event_code == event_code)
    return await _NEWEST.page(session, statement, window, scope=project_id)
