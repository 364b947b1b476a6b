"""Bodies of ``/api/projects/{slug}/audit-events``."""

from typing import Any, Self

import msgspec

from kroma.audit.models import AuditEvent
from kroma_api.schemas.reply import Id, ListReply, OptionalId, Stamp, shown_id, shown_json, shown_stamp


class AuditEventView(msgspec.Struct, frozen=True, kw_only=True):
    """One change of state."""

    id: Id
    project_id: Id
    actor_user_id: OptionalId
    """The token's user; empty for the development bypass, the first token and the command line."""
    event_code: str
    """What was done, like ``secret.upsert``."""
    payload_json: Any
    """Identifiers of what changed."""
    created_at: Stamp

    @classmethod
    def of(cls, event: AuditEvent) -> Self:
        """Show an event."""
        return cls(
            id=str(event.id),
            project_id=shown_id(event.project_id),
            actor_user_id=shown_id(event.actor_user_id),
            event_code=event.event_code,
            payload_json=shown_json(event.payload_json),
            created_at=shown_stamp(event.created_at),
        )


class ListAuditEventsResponse(ListReply, frozen=True, kw_only=True):
    """Events of a project, newest first."""

    audit_events: list[AuditEventView]
