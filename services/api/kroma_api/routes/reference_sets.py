"""``/api/projects/{slug}/reference-sets``: sets and their items."""

from http import HTTPStatus

from litestar import Router, delete, get, post, put
from litestar.params import FromPath, JSONBody
from msgspec.structs import asdict

from kroma.auth.scopes import Scope
from kroma.project_texts import queries, reference_items, service
from kroma.project_texts.models import ReferenceSet
from kroma.projects.queries import get_project_id
from kroma_api.dependencies import Db
from kroma_api.http.pagination import After, Limit, open_window
from kroma_api.route_facts import VIEW, Idempotency, route
from kroma_api.schemas.reference_sets import (
    ChangeReferenceItemRequest,
    ChangeReferenceSetRequest,
    CreateReferenceItemRequest,
    CreateReferenceSetRequest,
    ListReferenceItemsResponse,
    ListReferenceSetsResponse,
    ReferenceItemResponse,
    ReferenceItemView,
    ReferenceSetResponse,
    ReferenceSetView,
)
from kroma_api.schemas.reply import DeletedResponse


@get("/", opt=route(scope=VIEW, idempotency=Idempotency.READ, contract="3.16"))
async def list_reference_sets(
    slug: FromPath[str], db: Db, limit: Limit = None, after: After = None
) -> ListReferenceSetsResponse:
    """The reference sets of a project, last changed first."""
    async with db.reading() as reader:
        project_id = await get_project_id(reader, slug)
        rows = await queries.list_texts(reader, ReferenceSet, project_id, window=open_window(limit, after))
    return ListReferenceSetsResponse(
        count=len(rows), next=rows.following, reference_sets=[ReferenceSetView.from_row(row) for row in rows]
    )


@post(
    "/",
    opt=route(
        scope=Scope.CREATE,
        idempotency=Idempotency.REPLAYED,
        contract="3.16",
        example={"name": "Harbour", "description": "Where the ships lie"},
    ),
    status_code=HTTPStatus.OK,
)
async def create_reference_set(
    slug: FromPath[str], data: JSONBody[CreateReferenceSetRequest], db: Db
) -> ReferenceSetResponse:
    """Add an empty reference set."""
    reference_set = await service.create_text(db, ReferenceSet, slug=slug, fields=asdict(data))
    return ReferenceSetResponse(reference_set=ReferenceSetView.from_row(reference_set))


@get("/{reference_set_id:str}", opt=route(scope=VIEW, idempotency=Idempotency.READ, contract="3.16"))
async def get_reference_set(
    slug: FromPath[str], reference_set_id: FromPath[str], db: Db
) -> ReferenceSetResponse:
    """One reference set."""
    async with db.reading() as reader:
        reference_set = await queries.get_text(reader, ReferenceSet, slug=slug, identifier=reference_set_id)
    return ReferenceSetResponse(reference_set=ReferenceSetView.from_row(reference_set))


@put(
    "/{reference_set_id:str}",
    opt=route(
        scope=Scope.CREATE,
        idempotency=Idempotency.REPEATABLE,
        contract="3.16",
        example={"description": "Where the ships lie"},
    ),
)
async def change_reference_set(
    slug: FromPath[str], reference_set_id: FromPath[str], data: JSONBody[ChangeReferenceSetRequest], db: Db
) -> ReferenceSetResponse:
    """Set the given fields of a reference set."""
    reference_set = await service.change_text(
        db, ReferenceSet, slug=slug, identifier=reference_set_id, fields=asdict(data)
    )
    return ReferenceSetResponse(reference_set=ReferenceSetView.from_row(reference_set))


@delete(
    "/{reference_set_id:str}",
    opt=route(scope=Scope.ADMIN, idempotency=Idempotency.REPEATABLE, contract="3.16"),
    status_code=HTTPStatus.OK,
)
async def delete_reference_set(
    slug: FromPath[str], reference_set_id: FromPath[str], db: Db
) -> DeletedResponse:
    """Remove a reference set and its items for good."""
    await service.delete_text(db, ReferenceSet, slug=slug, identifier=reference_set_id)
    return DeletedResponse(id=reference_set_id)


@get("/{reference_set_id:str}/items", opt=route(scope=VIEW, idempotency=Idempotency.READ, contract="3.16"))
async def list_reference_items(
    slug: FromPath[str], reference_set_id: FromPath[str], db: Db, limit: Limit = None, after: After = None
) -> ListReferenceItemsResponse:
    """The items of a reference set in their order."""
    async with db.reading() as reader:
        reference_set = await queries.get_text(reader, ReferenceSet, slug=slug, identifier=reference_set_id)
        rows = await reference_items.list_reference_items(
            reader, reference_set.id, window=open_window(limit, after)
        )
    return ListReferenceItemsResponse(
        count=len(rows),
        next=rows.following,
        reference_set_id=reference_set_id,
        items=[ReferenceItemView.from_row(row) for row in rows],
    )


@post(
    "/{reference_set_id:str}/items",
    opt=route(
        scope=Scope.CREATE,
        idempotency=Idempotency.REPLAYED,
        contract="3.16",
        example={"label": "Quay", "content_uri": "scenes/harbor.png", "sort_order": 1},
    ),
    status_code=HTTPStatus.OK,
)
async def create_reference_item(
    slug: FromPath[str], reference_set_id: FromPath[str], data: JSONBody[CreateReferenceItemRequest], db: Db
) -> ReferenceItemResponse:
    """Add an item to a reference set."""
    item = await reference_items.create_reference_item(
        db,
        slug=slug,
        reference_set_id=reference_set_id,
        label=data.label,
        content_uri=data.content_uri,
        content_text=data.content_text,
        sort_order=data.sort_order,
        metadata_json=data.metadata_json,
    )
    return ReferenceItemResponse(item=ReferenceItemView.from_row(item))


@get(
    "/{reference_set_id:str}/items/{item_id:str}",
    opt=route(scope=VIEW, idempotency=Idempotency.READ, contract="3.16"),
)
async def get_reference_item(
    slug: FromPath[str], reference_set_id: FromPath[str], item_id: FromPath[str], db: Db
) -> ReferenceItemResponse:
    """One item of a reference set."""
    async with db.reading() as reader:
        item = await reference_items.get_reference_item(
            reader, slug=slug, reference_set_id=reference_set_id, item_id=item_id
        )
    return ReferenceItemResponse(item=ReferenceItemView.from_row(item))


@put(
    "/{reference_set_id:str}/items/{item_id:str}",
    opt=route(
        scope=Scope.CREATE,
        idempotency=Idempotency.REPEATABLE,
        contract="3.16",
        example={"label": "Quay at night", "sort_order": -1},
    ),
)
async def change_reference_item(
    slug: FromPath[str],
    reference_set_id: FromPath[str],
    item_id: FromPath[str],
    data: JSONBody[ChangeReferenceItemRequest],
    db: Db,
) -> ReferenceItemResponse:
    """Set the given fields of an item."""
    item = await reference_items.change_reference_item(
        db,
        slug=slug,
        reference_set_id=reference_set_id,
        item_id=item_id,
        label=data.label,
        content_uri=data.content_uri,
        content_text=data.content_text,
        sort_order=data.sort_order,
        metadata_json=data.metadata_json,
    )
    return ReferenceItemResponse(item=ReferenceItemView.from_row(item))


@delete(
    "/{reference_set_id:str}/items/{item_id:str}",
    opt=route(scope=Scope.ADMIN, idempotency=Idempotency.REPEATABLE, contract="3.16"),
    status_code=HTTPStatus.OK,
)
async def delete_reference_item(
    slug: FromPath[str], reference_set_id: FromPath[str], item_id: FromPath[str], db: Db
) -> DeletedResponse:
    """Remove an item for good."""
    await reference_items.delete_reference_item(
        db, slug=slug, reference_set_id=reference_set_id, item_id=item_id
    )
    return DeletedResponse(id=item_id)


router = Router(
    "/api/projects/{slug:str}/reference-sets",
    route_handlers=[
        list_reference_sets,
        create_reference_set,
        get_reference_set,
        change_reference_set,
        delete_reference_set,
        list_reference_items,
        create_reference_item,
        get_reference_item,
        change_reference_item,
        delete_reference_item,
    ],
    tags=["reference sets"],
)
