"""``/api/projects/{slug}/audit-events``."""

from typing import Annotated

from litestar import Router, get
from litestar.params import FromPath, QueryParameter

from kroma.audit import queries
from kroma.auth.scopes import Scope
from kroma.projects.queries import get_project_id
from kroma.texts import optional_text
from kroma_api.dependencies import Db
from kroma_api.http.pagination import After, Limit, window
from kroma_api.route_facts import Idempotency, route
from kroma_api.schemas.audit_events import AuditEventView, ListAuditEventsResponse

EventCode = Annotated[
    str | None, QueryParameter(description="Only events of this kind, like `secret.upsert`")
]


@get("/", opt=route(scope=Scope.READ, idempotency=Idempotency.READ, contract=None))
async def list_audit_events(
    slug: FromPath[str], db: Db, event_code: EventCode = None, limit: Limit = None, after: After = None
) -> ListAuditEventsResponse:
    """What changed in a project, newest first."""
    async with db.reading() as reader:
        project_id = await get_project_id(reader, slug)
        events = await queries.list_audit_events(
            reader, project_id, window=window(limit, after), event_code=optional_text(event_code)
        )
    return ListAuditEventsResponse(
        count=len(events),
        next=events.following,
        audit_events=[AuditEventView.from_row(event) for event in events],
    )


router = Router(
    "/api/projects/{slug:str}/audit-events", route_handlers=[list_audit_events], tags=["audit events"]
)
