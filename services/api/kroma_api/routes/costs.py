"""``/api/projects/{slug}/cost-events``."""

from typing import Annotated

from litestar import Router, get
from litestar.params import FromPath, QueryParameter

from kroma.auth.scopes import Scope
from kroma.costs import queries
from kroma.projects.queries import get_project_id
from kroma_api.dependencies import Db
from kroma_api.http.pagination import After, Limit, window
from kroma_api.route_facts import Idempotency, route
from kroma_api.schemas.costs import CostEventView, ListCostEventsResponse

RunFilter = Annotated[str | None, QueryParameter(description="Only costs of this run")]
ProviderFilter = Annotated[
    str | None, QueryParameter(description="Only costs of the provider with this code")
]


@get("/", opt=route(scope=Scope.READ, idempotency=Idempotency.READ, contract="3.11"))
async def list_cost_events(
    *,
    slug: FromPath[str],
    db: Db,
    limit: Limit = None,
    after: After = None,
    run_id: RunFilter = None,
    provider: ProviderFilter = None,
) -> ListCostEventsResponse:
    """The newest cost events of a project, or those of one run or provider."""
    async with db.reading() as reader:
        project_id = await get_project_id(reader, slug)
        events = await queries.list_cost_events(
            reader, project_id, run_id=run_id, provider=provider, window=window(limit, after)
        )
    return ListCostEventsResponse(
        count=len(events),
        next=events.following,
        cost_events=[CostEventView.from_row(event) for event in events],
    )


router = Router("/api/projects/{slug:str}/cost-events", route_handlers=[list_cost_events], tags=["costs"])
