"""Bodies of ``/api/projects/{slug}/audit-events``."""

from typing import Any

from kroma_api.schemas.reply import (
    Id,
    ListReply,
    OptionalId,
    RowView,
    Stamp,
)


class AuditEventView(RowView, frozen=True, kw_only=True):
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


class ListAuditEventsResponse(ListReply, frozen=True, kw_only=True):
    """Events of a project, newest first."""

    audit_events: list[AuditEventView]
