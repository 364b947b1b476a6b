"""``/api/projects/{slug}/secrets``."""

from http import HTTPStatus

from litestar import Router, delete, get, post
from litestar.params import FromPath, JSONBody

from kroma.auth.scopes import Scope
from kroma.ledger.unpause import Unpause
from kroma.projects.queries import get_project_id
from kroma.secrets import queries, service
from kroma_api.dependencies import CurrentCaller, Db, Keys, Queue
from kroma_api.http.json_response import NO_STORE
from kroma_api.http.pagination import After, Limit, open_window
from kroma_api.http.scope import SLASH_IN_NAME
from kroma_api.route_facts import Idempotency, route
from kroma_api.schemas.secrets import (
    DeletedSecretResponse,
    ListSecretsResponse,
    RotateSecretsRequest,
    RotateSecretsResponse,
    RotationStatusResponse,
    SecretView,
    UpsertSecretRequest,
    UpsertSecretResponse,
)


@get("/", opt=route(scope=(Scope.READ, Scope.SECRETS), idempotency=Idempotency.READ, contract="3.19"))
async def list_secrets(
    slug: FromPath[str], db: Db, limit: Limit = None, after: After = None
) -> ListSecretsResponse:
    """The secrets of a project by provider code and name, without their values."""
    async with db.reading() as reader:
        project_id = await get_project_id(reader, slug)
        rows = await queries.list_secrets(reader, project_id, window=open_window(limit, after))
    return ListSecretsResponse(
        count=len(rows), next=rows.following, secrets=[SecretView.of(row) for row in rows]
    )


@get(
    "/rotation-status",
    opt=route(scope=(Scope.READ, Scope.SECRETS), idempotency=Idempotency.READ, contract="3.19"),
)
async def get_rotation_status(slug: FromPath[str], db: Db, keyring: Keys) -> RotationStatusResponse:
    """How the secrets of a project are stored, and how many of them open."""
    return RotationStatusResponse(status=await service.encryption_status(db, keyring, slug=slug))


@post(
    "/",
    opt=route(
        scope=Scope.SECRETS,
        idempotency=Idempotency.REPLAYED,
        contract="3.19",
        example={"provider_code": "openai", "secret_name": "api_key", "secret_value": "not-a-real-key"},
    ),
    status_code=HTTPStatus.OK,
)
async def upsert_secret(
    *,
    slug: FromPath[str],
    data: JSONBody[UpsertSecretRequest],
    db: Db,
    keyring: Keys,
    queue: Queue,
    caller: CurrentCaller,
) -> UpsertSecretResponse:
    """Store a secret, encrypted, over the value that was there."""
    unpause = Unpause(queue)
    stored = await service.upsert_secret(
        db,
        keyring,
        slug=slug,
        code=data.provider_code,
        name=data.secret_name,
        value=data.secret_value,
        actor=caller.user_id,
        also=unpause.lift,
    )
    await unpause.notify()
    return UpsertSecretResponse(secret=SecretView.of(stored.secret), audit_id=str(stored.audit_id))


@post(
    "/rotate",
    opt=route(
        scope=Scope.SECRETS, idempotency=Idempotency.REPLAYED, contract="3.19", example={"force": True}
    ),
    status_code=HTTPStatus.OK,
)
async def rotate_secrets(
    slug: FromPath[str], data: JSONBody[RotateSecretsRequest], db: Db, keyring: Keys, caller: CurrentCaller
) -> RotateSecretsResponse:
    """Encrypt the secrets of a project with the current key; those that do not open are counted."""
    finished = await service.rotate_secrets(
        db,
        keyring,
        slug=slug,
        from_key_ref=data.from_key_ref,
        force=data.force is True,
        actor=caller.user_id,
    )
    return RotateSecretsResponse(rotation=finished.rotation, audit_id=str(finished.audit_id))


@delete(
    "/{provider_code:str}/{secret_name:path}",
    opt=route(scope=Scope.SECRETS, idempotency=Idempotency.REPEATABLE, contract="3.19", slash_in_last=True),
    status_code=HTTPStatus.OK,
)
async def delete_secret(
    *,
    slug: FromPath[str],
    provider_code: FromPath[str],
    secret_name: FromPath[str],
    db: Db,
    queue: Queue,
    caller: CurrentCaller,
) -> DeletedSecretResponse:
    """Remove a secret for good; a slash in its name is %2F in the path."""
    # A path parameter, which comes with a slash before it: clients may send slashes in names as they are.
    name = secret_name.removeprefix("/").replace(SLASH_IN_NAME, "/")
    unpause = Unpause(queue)
    audit_id = await service.delete_secret(
        db, slug=slug, code=provider_code, name=name, actor=caller.user_id, also=unpause.lift
    )
    await unpause.notify()
    return DeletedSecretResponse(audit_id=str(audit_id))


router = Router(
    "/api/projects/{slug:str}/secrets",
    route_handlers=[list_secrets, get_rotation_status, upsert_secret, rotate_secrets, delete_secret],
    response_headers=[NO_STORE],
    tags=["secrets"],
)
