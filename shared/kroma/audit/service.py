"""Writing to the trail."""

from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from kroma.audit.models import AuditEvent


async def record(
    session: AsyncSession, *, code: str, project_id: UUID | None, actor: UUID | None, payload: dict[str, Any]
) -> AuditEvent:
    """Add one event to the caller's transaction.

    Args:
        session: The transaction that also holds the change.
        code: What happened, like ``project.upsert`` (contract 1.11).
        actor: The token's user; None for the development bypass and the first token.
        payload: Identifiers of what changed; never a secret.
    """
    event = AuditEvent(project_id=project_id, actor_user_id=actor, event_code=code, payload_json=payload)
    session.add(event)
    await session.flush()
    return event
