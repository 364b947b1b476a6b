"""``/api/projects/{slug}/provider-calls``."""

from http import HTTPStatus
from typing import Annotated

from litestar import Router, get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from kroma.auth.scopes import Scope
from kroma.ledger import queries, service
from kroma.ledger.models import CallStatus
from kroma.projects.queries import get_project_id
from kroma_api.dependencies import CurrentCaller, Db
from kroma_api.http.pagination import After, Limit, one_of, window
from kroma_api.route_facts import Idempotency, route
from kroma_api.schemas.provider_calls import (
    ListProviderCallsResponse,
    ProviderCallView,
    ResolveProviderCallRequest,
    ResolveProviderCallResponse,
)
from kroma_api.schemas.reply import shown_id

StatusFilter = Annotated[
    str | None,
    QueryParameter(description="Only calls with this status: intent, sent, settled, refused or unknown"),
]
RunFilter = Annotated[str | None, QueryParameter(description="Only calls of this run")]


@get("/", opt=route(scope=Scope.READ, idempotency=Idempotency.READ, contract=None))
async def list_provider_calls(
    *,
    slug: FromPath[str],
    db: Db,
    limit: Limit = None,
    after: After = None,
    status: StatusFilter = None,
    run: RunFilter = None,
) -> ListProviderCallsResponse:
    """The newest calls of a project that cost money; those that are `unknown` wait for a person."""
    wanted = one_of("status", status, CallStatus)
    async with db.reading() as reader:
        project_id = await get_project_id(reader, slug)
        rows = await queries.list_provider_calls(
            reader, project_id, status=wanted, run_id=run, window=window(limit, after)
        )
    return ListProviderCallsResponse(
        count=len(rows), next=rows.following, provider_calls=[ProviderCallView.of(row) for row in rows]
    )


@post(
    "/{call_id:str}/resolve",
    opt=route(
        scope=Scope.SPEND,
        idempotency=Idempotency.REPLAYED,
        contract=None,
        example={"resolution": "charged", "cost_usd": 0.04},
    ),
    status_code=HTTPStatus.OK,
)
async def resolve_provider_call(
    slug: FromPath[str],
    call_id: FromPath[str],
    data: JSONBody[ResolveProviderCallRequest],
    db: Db,
    caller: CurrentCaller,
) -> ResolveProviderCallResponse:
    """Say of a call whose answer was lost whether the provider charged it; saying it twice changes nothing.

    A charged call is settled with the given cost, else with its price; one that was not charged costs
    nothing. Neither is sent again.
    """
    resolved = await service.resolve_call(
        db,
        slug=slug,
        call_id=call_id,
        resolution=data.resolution,
        cost_usd=data.cost_usd,
        actor=caller.user_id,
    )
    return ResolveProviderCallResponse(
        provider_call=ProviderCallView.of(resolved.call), audit_id=shown_id(resolved.audit_id)
    )


router = Router(
    "/api/projects/{slug:str}/provider-calls",
    route_handlers=[list_provider_calls, resolve_provider_call],
    tags=["provider calls"],
)
