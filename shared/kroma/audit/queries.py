"""Reading the trail."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.audit.models import AuditEvent


async def list_audit_events(
    session: AsyncSession, project_id: UUID, *, limit: int, event_code: str | None = None
) -> Sequence[AuditEvent]:
    """The newest ``limit`` events of a project, newest first; ``event_code`` keeps those of one kind."""
    statement = (
        select(AuditEvent)
        .where(AuditEvent.project_id == project_id)
        .order_by(AuditEvent.created_at.desc(), AuditEvent.id.desc())
        .limit(limit)
    )
    if event_code is not None:
        statement = statement.where(AuditEvent.event_code == event_code)
    return (await session.scalars(statement)).all()
