"""``/api/projects/{slug}/storage/sync`` and ``.../syncs``: copies of a project in its bucket."""

from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Final

import structlog
from litestar import Response, Router, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter

from kroma.auth.scopes import Scope
from kroma.projects.queries import get_project_id
from kroma.projects.slugs import normalized_slug
from kroma.queue.base import TaskQueue
from kroma.queue.errors import QueueUnavailableError
from kroma.queue.messages import SyncProject
from kroma.sync import queries, service
from kroma.sync.models import SyncJob, SyncKind, SyncStatus
from kroma.sync.service import SyncRequest
from kroma_api.dependencies import CurrentCaller, Db, Queue, Stores
from kroma_api.http.pagination import After, Limit, one_of, window
from kroma_api.route_facts import Idempotency, route
from kroma_api.routes.runs import RETRY_AFTER_S
from kroma_api.schemas.syncs import ListSyncsResponse, StartSyncRequest, SyncResponse, SyncView

log = structlog.get_logger(__name__)

StatusFilter = Annotated[str | None, QueryParameter(description=f"One of {', '.join(SyncStatus)}")]
KindFilter = Annotated[str | None, QueryParameter(description=f"One of {', '.join(SyncKind)}")]

_SKIPPED: Final = {
    HTTPStatus.OK.value: ResponseSpec(
        SyncResponse,
        generate_examples=False,
        description="There was nothing to do: no folder",
    )
}


@post(
    "/sync",
    opt=route(
        scope=Scope.STORAGE, idempotency=Idempotency.REPLAYED, contract=None, example={"dry_run": True}
    ),
    status_code=HTTPStatus.ACCEPTED,
    responses=_SKIPPED,
)
async def start_sync(
    *,
    slug: FromPath[str],
    data: JSONBody[StartSyncRequest],
    db: Db,
    queue: Queue,
    stores: Stores,
    caller: CurrentCaller,
) -> Response[SyncResponse]:
    """Queue a copy of the project's files to its bucket; what is there already is not sent again.

    One that waits to do the same is answered again. Behind one that is under way a new one waits.
    """
    request = SyncRequest(
        dry_run=data.dry_run is True,
        delete_extra=data.delete is True,
        allow_missing=data.allow_missing is True,
    )
    notice = await service.prepare_sync(db, stores, slug=slug, request=request, caller=caller)
    async with db.transaction() as session:
        sync = await service.request_sync(session, notice, actor=caller.user_id)
    return await _accept(queue, sync, slug)


@get("/syncs", opt=route(scope=(Scope.READ, Scope.STORAGE), idempotency=Idempotency.READ, contract=None))
async def list_syncs(
    *,
    slug: FromPath[str],
    db: Db,
    limit: Limit = None,
    after: After = None,
    status: StatusFilter = None,
    kind: KindFilter = None,
) -> ListSyncsResponse:
    """The newest syncs of a project, restores and verifications too."""
    async with db.reading() as reader:
        project_id = await get_project_id(reader, slug)
        rows = await queries.list_syncs(
            reader,
            project_id,
            status=one_of("status", status, SyncStatus),
            kind=one_of("kind", kind, SyncKind),
            window=window(limit, after),
        )
    return ListSyncsResponse(count=len(rows), next=rows.following, syncs=[SyncView.of(row) for row in rows])


@get(
    "/syncs/{sync_id:str}",
    opt=route(scope=(Scope.READ, Scope.STORAGE), idempotency=Idempotency.READ, contract=None),
)
async def get_sync(slug: FromPath[str], sync_id: FromPath[str], db: Db) -> SyncResponse:
    """A sync, and how far it is."""
    async with db.reading() as reader:
        sync = await queries.get_sync(reader, slug=slug, sync_id=sync_id)
    return SyncResponse.of(sync, normalized_slug(slug) or slug)


@post(
    "/syncs/{sync_id:str}/cancel",
    opt=route(scope=Scope.STORAGE, idempotency=Idempotency.REPLAYED, contract=None),
    status_code=HTTPStatus.OK,
)
async def cancel_sync(
    slug: FromPath[str], sync_id: FromPath[str], db: Db, caller: CurrentCaller
) -> SyncResponse:
    """End a sync early; what is in the bucket by then stays, and one that has ended stays as it is."""
    sync = await service.cancel_sync(db, slug=slug, sync_id=sync_id, actor=caller.user_id)
    return SyncResponse.of(sync, normalized_slug(slug) or slug)


@post(
    "/syncs/{sync_id:str}/retry",
    opt=route(scope=Scope.STORAGE, idempotency=Idempotency.REPLAYED, contract=None),
    status_code=HTTPStatus.ACCEPTED,
    responses=_SKIPPED,
)
async def retry_sync(
    *,
    slug: FromPath[str],
    sync_id: FromPath[str],
    db: Db,
    queue: Queue,
    stores: Stores,
    caller: CurrentCaller,
) -> Response[SyncResponse]:
    """Queue a sync again that failed or was canceled; finished files and parts are not sent again."""
    sync = await service.retry_sync(db, stores, slug=slug, sync_id=sync_id, caller=caller)
    return await _accept(queue, sync, slug)


async def _accept(queue: TaskQueue, sync: SyncJob, slug: str) -> Response[SyncResponse]:
    reply = SyncResponse.of(sync, normalized_slug(slug) or slug)
    headers = {"Location": reply.links.self}
    if reply.sync.done:
        return Response(reply, status_code=HTTPStatus.OK, headers=headers)
    try:
        await queue.enqueue_many([SyncProject(sync_id=sync.id)], delay=timedelta())
    except QueueUnavailableError:
        log.warning("queue.unavailable", task=SyncProject.__name__)  # a worker finds it in the table
    headers["Retry-After"] = str(RETRY_AFTER_S)
    return Response(reply, status_code=HTTPStatus.ACCEPTED, headers=headers)


router = Router(
    "/api/projects/{slug:str}/storage",
    route_handlers=[start_sync, list_syncs, get_sync, cancel_sync, retry_sync],
    tags=["storage"],
)
