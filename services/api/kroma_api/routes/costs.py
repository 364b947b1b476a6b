"""``/api/projects/{slug}/cost-events``."""

from litestar import Router, get
from litestar.params import FromPath

from kroma.costs import queries
from kroma.projects.queries import get_project
from kroma_api.dependencies import Db
from kroma_api.routes.limits import Limit, clamped
from kroma_api.schemas.costs import CostEventView, ListCostEventsResponse


@get("/")
async def list_cost_events(slug: FromPath[str], db: Db, limit: Limit = None) -> ListCostEventsResponse:
    """The newest cost events of a project."""
    async with db.transaction() as session:
        project = await get_project(session, slug)
        events = await queries.list_cost_events(session, project.id, limit=clamped(limit))
    return ListCostEventsResponse(
        count=len(events), cost_events=[CostEventView.of(event) for event in events]
    )


router = Router("/api/projects/{slug:str}/cost-events", route_handlers=[list_cost_events], tags=["costs"])
