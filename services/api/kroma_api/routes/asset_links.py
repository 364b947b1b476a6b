"""``/api/projects/{slug}/asset-links``."""

from http import HTTPStatus

from litestar import Router, delete, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody

from kroma.assets import queries, service
from kroma.auth.scopes import Scope
from kroma.projects.queries import get_project_id
from kroma_api.dependencies import Db
from kroma_api.http.pagination import After, Limit, open_window
from kroma_api.route_facts import VIEW, Idempotency, route
from kroma_api.schemas.asset_links import (
    AssetLinkResponse,
    AssetLinkView,
    ChangeAssetLinkRequest,
    CreateAssetLinkRequest,
    ListAssetLinksResponse,
)
from kroma_api.schemas.reply import DeletedResponse


@get("/", opt=route(scope=VIEW, idempotency=Idempotency.READ, contract="3.10"))
async def list_asset_links(
    *,
    slug: FromPath[str],
    db: Db,
    asset_id: FromQuery[str | None] = None,
    link_type: FromQuery[str | None] = None,
    limit: Limit = None,
    after: After = None,
) -> ListAssetLinksResponse:
    """The asset links of a project, or those of one asset or type, last changed first."""
    async with db.reading() as reader:
        project_id = await get_project_id(reader, slug)
        rows = await queries.list_asset_links(
            reader, project_id, asset_id=asset_id, link_type=link_type, window=open_window(limit, after)
        )
    return ListAssetLinksResponse(
        count=len(rows), next=rows.following, asset_links=[AssetLinkView.from_row(row) for row in rows]
    )


@post(
    "/",
    opt=route(
        scope=Scope.CREATE,
        idempotency=Idempotency.REPLAYED,
        contract="3.10",
        example={
            "parent_asset_id": "3f2b8c1e-6d0a-4c55-9b3e-0e8f1f6f2a71",
            "child_asset_id": "9a1d5f40-2c4e-4b7a-8f7d-5b1c3a9e6d20",
            "link_type": "derived_from",
        },
    ),
    status_code=HTTPStatus.OK,
)
async def create_asset_link(
    slug: FromPath[str], data: JSONBody[CreateAssetLinkRequest], db: Db
) -> AssetLinkResponse:
    """Link two assets of a project."""
    link = await service.create_asset_link(
        db,
        slug=slug,
        parent_asset_id=data.parent_asset_id,
        child_asset_id=data.child_asset_id,
        link_type=data.link_type,
    )
    return AssetLinkResponse(asset_link=AssetLinkView.from_row(link))


@get("/{link_id:str}", opt=route(scope=VIEW, idempotency=Idempotency.READ, contract="3.10"))
async def get_asset_link(slug: FromPath[str], link_id: FromPath[str], db: Db) -> AssetLinkResponse:
    """One asset link."""
    async with db.reading() as reader:
        link = await queries.get_asset_link(reader, slug=slug, link_id=link_id)
    return AssetLinkResponse(asset_link=AssetLinkView.from_row(link))


@put(
    "/{link_id:str}",
    opt=route(
        scope=Scope.CREATE,
        idempotency=Idempotency.REPEATABLE,
        contract="3.10",
        example={"link_type": "variant_of"},
    ),
)
async def change_asset_link(
    slug: FromPath[str], link_id: FromPath[str], data: JSONBody[ChangeAssetLinkRequest], db: Db
) -> AssetLinkResponse:
    """Set the given fields of an asset link."""
    link = await service.change_asset_link(
        db,
        slug=slug,
        link_id=link_id,
        parent_asset_id=data.parent_asset_id,
        child_asset_id=data.child_asset_id,
        link_type=data.link_type,
    )
    return AssetLinkResponse(asset_link=AssetLinkView.from_row(link))


@delete(
    "/{link_id:str}",
    opt=route(scope=Scope.ADMIN, idempotency=Idempotency.REPEATABLE, contract="3.10"),
    status_code=HTTPStatus.OK,
)
async def delete_asset_link(slug: FromPath[str], link_id: FromPath[str], db: Db) -> DeletedResponse:
    """Remove an asset link; its assets stay."""
    await service.delete_asset_link(db, slug=slug, link_id=link_id)
    return DeletedResponse(id=link_id)


router = Router(
    "/api/projects/{slug:str}/asset-links",
    route_handlers=[
        list_asset_links,
        create_asset_link,
        get_asset_link,
        change_asset_link,
        delete_asset_link,
    ],
    tags=["asset links"],
)
