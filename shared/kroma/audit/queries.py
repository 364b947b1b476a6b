"""Reading the trail."""

from uuid import UUID

from kroma.audit.models import AuditEvent
from kroma.db.keyset import EVERYTHING, Listing, Page, Window, descending
from kroma.db.reader import Reader, equals

_LISTED = Listing(
    AuditEvent,
    descending(AuditEvent.created_at),
    descending(AuditEvent.id),
    of=AuditEvent.project_id,
    filters={"event_code": equals(AuditEvent.event_code)},
)


async def list_audit_events(
    reader: Reader, project_id: UUID, *, event_code: str | None = None, window: Window = EVERYTHING
) -> Page[AuditEvent]:
    """The events of a project, newest first; ``event_code`` keeps those of one kind."""
    return await _LISTED.page(reader, window, of=project_id, event_code=event_code)
