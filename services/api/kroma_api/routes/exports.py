"""``/api/projects/{slug}/exports``."""

from litestar import Router, get
from litestar.params import FromPath

from kroma.auth.scopes import Scope
from kroma.exports import queries
from kroma.projects.queries import get_project_id
from kroma_api.dependencies import Db
from kroma_api.http.pagination import After, Limit, window
from kroma_api.route_facts import Idempotency, route
from kroma_api.schemas.exports import ExportResponse, ExportView, ListExportsResponse


@get("/", opt=route(scope=Scope.READ, idempotency=Idempotency.READ, contract="3.11"))
async def list_exports(
    slug: FromPath[str], db: Db, limit: Limit = None, after: After = None
) -> ListExportsResponse:
    """The newest exports of a project."""
    async with db.reading() as reader:
        project_id = await get_project_id(reader, slug)
        exports = await queries.list_exports(reader, project_id, window=window(limit, after))
    return ListExportsResponse(
        count=len(exports), next=exports.following, exports=[ExportView.of(export) for export in exports]
    )


@get("/{export_id:str}", opt=route(scope=Scope.READ, idempotency=Idempotency.READ, contract="3.11"))
async def get_export(slug: FromPath[str], export_id: FromPath[str], db: Db) -> ExportResponse:
    """One export."""
    async with db.reading() as reader:
        export = await queries.get_export(reader, slug=slug, export_id=export_id)
    return ExportResponse(export=ExportView.of(export))


router = Router(
    "/api/projects/{slug:str}/exports", route_handlers=[list_exports, get_export], tags=["exports"]
)
