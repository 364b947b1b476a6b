"""``/api/projects/{slug}/style-guides``."""

from http import HTTPStatus

from litestar import Router, delete, get, post, put
from litestar.params import FromPath, JSONBody
from msgspec.structs import asdict

from kroma.auth.scopes import Scope
from kroma.project_texts import queries, service
from kroma.project_texts.models import StyleGuide
from kroma.projects.queries import get_project_id
from kroma_api.dependencies import Db
from kroma_api.http.pagination import After, Limit, open_window
from kroma_api.route_facts import VIEW, Idempotency, route
from kroma_api.schemas.reply import DeletedResponse
from kroma_api.schemas.style_guides import (
    ChangeStyleGuideRequest,
    CreateStyleGuideRequest,
    ListStyleGuidesResponse,
    StyleGuideResponse,
    StyleGuideView,
)


@get("/", opt=route(scope=VIEW, idempotency=Idempotency.READ, contract="3.14"))
async def list_style_guides(
    slug: FromPath[str], db: Db, limit: Limit = None, after: After = None
) -> ListStyleGuidesResponse:
    """The style guides of a project, last changed first."""
    async with db.reading() as reader:
        project_id = await get_project_id(reader, slug)
        rows = await queries.list_texts(reader, StyleGuide, project_id, window=open_window(limit, after))
    return ListStyleGuidesResponse(
        count=len(rows), next=rows.following, style_guides=[StyleGuideView.from_row(row) for row in rows]
    )


@post(
    "/",
    opt=route(
        scope=Scope.CREATE,
        idempotency=Idempotency.REPLAYED,
        contract="3.14",
        example={"name": "Ink", "instructions": "Heavy outlines", "notes": "No gradients"},
    ),
    status_code=HTTPStatus.OK,
)
async def create_style_guide(
    slug: FromPath[str], data: JSONBody[CreateStyleGuideRequest], db: Db
) -> StyleGuideResponse:
    """Add a style guide."""
    guide = await service.create_text(db, StyleGuide, slug=slug, fields=asdict(data))
    return StyleGuideResponse(style_guide=StyleGuideView.from_row(guide))


@get("/{style_guide_id:str}", opt=route(scope=VIEW, idempotency=Idempotency.READ, contract="3.14"))
async def get_style_guide(slug: FromPath[str], style_guide_id: FromPath[str], db: Db) -> StyleGuideResponse:
    """One style guide."""
    async with db.reading() as reader:
        guide = await queries.get_text(reader, StyleGuide, slug=slug, identifier=style_guide_id)
    return StyleGuideResponse(style_guide=StyleGuideView.from_row(guide))


@put(
    "/{style_guide_id:str}",
    opt=route(
        scope=Scope.CREATE,
        idempotency=Idempotency.REPEATABLE,
        contract="3.14",
        example={"instructions": "Heavy outlines, few colors"},
    ),
)
async def change_style_guide(
    slug: FromPath[str], style_guide_id: FromPath[str], data: JSONBody[ChangeStyleGuideRequest], db: Db
) -> StyleGuideResponse:
    """Set the given fields of a style guide."""
    guide = await service.change_text(
        db, StyleGuide, slug=slug, identifier=style_guide_id, fields=asdict(data)
    )
    return StyleGuideResponse(style_guide=StyleGuideView.from_row(guide))


@delete(
    "/{style_guide_id:str}",
    opt=route(scope=Scope.ADMIN, idempotency=Idempotency.REPEATABLE, contract="3.14"),
    status_code=HTTPStatus.OK,
)
async def delete_style_guide(slug: FromPath[str], style_guide_id: FromPath[str], db: Db) -> DeletedResponse:
    """Remove a style guide for good."""
    await service.delete_text(db, StyleGuide, slug=slug, identifier=style_guide_id)
    return DeletedResponse(id=style_guide_id)


router = Router(
    "/api/projects/{slug:str}/style-guides",
    route_handlers=[
        list_style_guides,
        create_style_guide,
        get_style_guide,
        change_style_guide,
        delete_style_guide,
    ],
    tags=["style guides"],
)
