"""``/api/projects/{slug}/assets``."""

from typing import Annotated

from litestar import Router, get
from litestar.params import FromPath, QueryParameter

from kroma.assets import queries
from kroma.assets.models import AssetKind
from kroma.lineage.queries import get_lineage
from kroma.projects.queries import get_project_id
from kroma_api.dependencies import Db
from kroma_api.http.pagination import After, Limit, one_of, window
from kroma_api.route_facts import VIEW, Idempotency, route
from kroma_api.routes import asset_files
from kroma_api.schemas.assets import AssetResponse, AssetView, ListAssetsResponse
from kroma_api.schemas.lineage import LineageResponse

KindFilter = Annotated[str | None, QueryParameter(description=f"One of {', '.join(AssetKind)}")]
RunFilter = Annotated[str | None, QueryParameter(description="Only what this run made")]
JobFilter = Annotated[str | None, QueryParameter(description="Only what this job made")]


@get("/", opt=route(scope=VIEW, idempotency=Idempotency.READ, contract="3.10"))
async def list_assets(
    *,
    slug: FromPath[str],
    db: Db,
    limit: Limit = None,
    after: After = None,
    kind: KindFilter = None,
    run_id: RunFilter = None,
    job_id: JobFilter = None,
) -> ListAssetsResponse:
    """The newest assets of a project, or those of one kind, run or job."""
    async with db.reading() as reader:
        project_id = await get_project_id(reader, slug)
        wanted = queries.AssetFilter(one_of("kind", kind, AssetKind), run_id, job_id)
        assets = await queries.list_assets(reader, project_id, wanted=wanted, window=window(limit, after))
    return ListAssetsResponse(
        count=len(assets), next=assets.following, assets=[AssetView.of(asset) for asset in assets]
    )


@get("/{asset_id:str}", opt=route(scope=VIEW, idempotency=Idempotency.READ, contract="3.10"))
async def get_asset(slug: FromPath[str], asset_id: FromPath[str], db: Db) -> AssetResponse:
    """One asset."""
    async with db.reading() as reader:
        asset = await queries.get_asset(reader, slug=slug, asset_id=asset_id)
    return AssetResponse(asset=AssetView.of(asset))


@get("/{asset_id:str}/lineage", opt=route(scope=VIEW, idempotency=Idempotency.READ, contract=None))
async def get_asset_lineage(slug: FromPath[str], asset_id: FromPath[str], db: Db) -> LineageResponse:
    """How an asset came to be: its ancestors and descendants, who made it of what, and for how much.

    An asset that no run made has links at most; what was not recorded is null or empty, never guessed.
    """
    async with db.reading() as reader:
        lineage = await get_lineage(reader, slug=slug, asset_id=asset_id)
    return LineageResponse.of(lineage)


router = Router(
    "/api/projects/{slug:str}/assets",
    route_handlers=[
        list_assets,
        asset_files.upload_assets,
        get_asset,
        asset_files.delete_asset,
        asset_files.get_asset_content,
        asset_files.get_asset_thumbnail,
        get_asset_lineage,
    ],
    tags=["assets"],
)
