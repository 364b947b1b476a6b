"""``/auth``: API tokens."""

from http import HTTPStatus

from litestar import Router, delete, get, post
from litestar.params import FromPath, JSONBody

from kroma.auth import queries, service
from kroma.auth.scopes import Scope
from kroma.db.base import utc_now
from kroma.projects.queries import get_local_project
from kroma_api.dependencies import CurrentCaller, Db
from kroma_api.http.json_response import NO_STORE
from kroma_api.http.pagination import After, Limit, open_window
from kroma_api.route_facts import Idempotency, route
from kroma_api.schemas.auth import (
    CreatedTokenView,
    CreateTokenRequest,
    CreateTokenResponse,
    ListTokensResponse,
    RevokeTokenResponse,
    TokenView,
)


@post(
    "/token",
    opt=route(
        scope=Scope.ADMIN,
        idempotency=Idempotency.SECRET,
        contract="3.2",
        body_names_project=True,
        example={"label": "laptop", "expires_at": "2030-01-31"},
    ),
    status_code=HTTPStatus.OK,
)
async def create_token(
    data: JSONBody[CreateTokenRequest], db: Db, caller: CurrentCaller
) -> CreateTokenResponse:
    """Make an API token; open without one while no active token exists and the server is on loopback.

    A token cannot make one that may do more than itself.
    """
    expires_at = service.parsed_expiry(data.expires_at)
    scopes = service.parsed_scopes(data.scopes)
    async with db.transaction() as session:
        if caller.is_bootstrap:
            await service.close_bootstrap(session)
        project = None
        if data.project_slug is not None:
            project = await get_local_project(session, data.project_slug)
        created = await service.create_token(
            session,
            label=data.label or "",
            project=project,
            scopes=scopes,
            expires_at=expires_at,
            caller=caller,
        )
    return CreateTokenResponse(auth_token=CreatedTokenView.of(created))


@get("/tokens", opt=route(scope=Scope.ADMIN, idempotency=Idempotency.READ, contract="3.2"))
async def list_tokens(db: Db, limit: Limit = None, after: After = None) -> ListTokensResponse:
    """All tokens of all users, newest first, without their secrets."""
    async with db.reading() as reader:
        rows = await queries.list_tokens(reader, window=open_window(limit, after))
    now = utc_now()
    return ListTokensResponse(
        count=len(rows), next=rows.following, auth_tokens=[TokenView.of(row, now=now) for row in rows]
    )


@delete(
    "/tokens/{token_id:str}",
    opt=route(scope=Scope.ADMIN, idempotency=Idempotency.REPEATABLE, contract="3.2"),
    status_code=HTTPStatus.OK,
)
async def revoke_token(token_id: FromPath[str], db: Db, caller: CurrentCaller) -> RevokeTokenResponse:
    """Make a token unusable; revoking again changes nothing.

    A token cannot revoke one that may do more than itself.
    """
    async with db.transaction() as session:
        await service.revoke_token(session, token_id, caller=caller)
    return RevokeTokenResponse(token_id=token_id)


router = Router(
    "/auth",
    route_handlers=[create_token, list_tokens, revoke_token],
    response_headers=[NO_STORE],
    tags=["auth"],
)
