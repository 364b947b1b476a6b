"""``/api/projects/{slug}/assets``."""

from litestar import Router, get
from litestar.params import FromPath

from kroma.assets import queries
from kroma.projects.queries import get_project
from kroma_api.dependencies import Db
from kroma_api.routes.limits import Limit, clamped
from kroma_api.schemas.assets import AssetResponse, AssetView, ListAssetsResponse


@get("/")
async def list_assets(slug: FromPath[str], db: Db, limit: Limit = None) -> ListAssetsResponse:
    """The newest assets of a project."""
    async with db.transaction() as session:
        project = await get_project(session, slug)
        assets = await queries.list_assets(session, project.id, limit=clamped(limit))
    return ListAssetsResponse(count=len(assets), assets=[AssetView.of(asset) for asset in assets])


@get("/{asset_id:str}")
async def get_asset(slug: FromPath[str], asset_id: FromPath[str], db: Db) -> AssetResponse:
    """One asset."""
    async with db.transaction() as session:
        asset = await queries.get_asset(session, slug=slug, asset_id=asset_id)
    return AssetResponse(asset=AssetView.of(asset))


router = Router("/api/projects/{slug:str}/assets", route_handlers=[list_assets, get_asset], tags=["assets"])
