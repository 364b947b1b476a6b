"""``/api/projects/{slug}/provider-accounts``."""

from http import HTTPStatus

from litestar import Router, delete, get, post, put
from litestar.params import FromPath, JSONBody

from kroma.auth.scopes import Scope
from kroma.ledger.unpause import Unpause
from kroma.pipeline.control.check_provider import check_provider
from kroma.projects.queries import get_project_id
from kroma.provider_accounts import queries, service
from kroma_api.dependencies import AppSettings, CurrentCaller, Db, Keys, Providers, Queue
from kroma_api.http.pagination import After, Limit, open_window
from kroma_api.route_facts import Idempotency, route
from kroma_api.schemas.provider_accounts import (
    ChangedProviderAccountResponse,
    ChangeProviderAccountRequest,
    CheckProviderAccountResponse,
    DeletedProviderAccountResponse,
    ListProviderAccountsResponse,
    ProviderAccountResponse,
    ProviderAccountView,
    ProviderCheckView,
    UpsertProviderAccountRequest,
)


@get("/", opt=route(scope=(Scope.READ, Scope.SECRETS), idempotency=Idempotency.READ, contract="3.13"))
async def list_provider_accounts(
    slug: FromPath[str], db: Db, limit: Limit = None, after: After = None
) -> ListProviderAccountsResponse:
    """The provider accounts of a project by code."""
    async with db.reading() as reader:
        project_id = await get_project_id(reader, slug)
        rows = await queries.list_provider_accounts(reader, project_id, window=open_window(limit, after))
    return ListProviderAccountsResponse(
        count=len(rows),
        next=rows.following,
        provider_accounts=[ProviderAccountView.from_row(row) for row in rows],
    )


@post(
    "/",
    opt=route(
        scope=Scope.SECRETS,
        idempotency=Idempotency.REPLAYED,
        contract="3.13",
        example={"provider_code": "openai", "display_name": "OpenAI"},
    ),
    status_code=HTTPStatus.OK,
)
async def upsert_provider_account(
    slug: FromPath[str],
    data: JSONBody[UpsertProviderAccountRequest],
    db: Db,
    queue: Queue,
    caller: CurrentCaller,
) -> ChangedProviderAccountResponse:
    """Create a provider account, or overwrite the project's account of the same code as a whole."""
    unpause = Unpause(queue)
    changed = await service.upsert_provider_account(
        db,
        slug=slug,
        code=data.provider_code,
        display_name=data.display_name,
        account_ref=data.account_ref,
        base_url=data.base_url,
        enabled=data.enabled,
        config_json=data.config_json,
        actor=caller.user_id,
        also=unpause.lift,
    )
    await unpause.notify()
    return ChangedProviderAccountResponse(
        provider_account=ProviderAccountView.from_row(changed.account), audit_id=str(changed.audit_id)
    )


@get(
    "/{provider_code:str}",
    opt=route(scope=(Scope.READ, Scope.SECRETS), idempotency=Idempotency.READ, contract="3.13"),
)
async def get_provider_account(
    slug: FromPath[str], provider_code: FromPath[str], db: Db
) -> ProviderAccountResponse:
    """One provider account."""
    async with db.reading() as reader:
        account = await queries.get_provider_account(reader, slug=slug, code=provider_code)
    return ProviderAccountResponse(provider_account=ProviderAccountView.from_row(account))


@put(
    "/{provider_code:str}",
    opt=route(
        scope=Scope.SECRETS,
        idempotency=Idempotency.REPEATABLE,
        contract="3.13",
        example={"display_name": "OpenAI of the studio", "enabled": False},
    ),
)
async def change_provider_account(
    *,
    slug: FromPath[str],
    provider_code: FromPath[str],
    data: JSONBody[ChangeProviderAccountRequest],
    db: Db,
    queue: Queue,
    caller: CurrentCaller,
) -> ChangedProviderAccountResponse:
    """Set the given fields of a provider account."""
    unpause = Unpause(queue)
    changed = await service.change_provider_account(
        db,
        slug=slug,
        code=provider_code,
        display_name=data.display_name,
        account_ref=data.account_ref,
        base_url=data.base_url,
        enabled=data.enabled,
        config_json=data.config_json,
        actor=caller.user_id,
        also=unpause.lift,
    )
    await unpause.notify()
    return ChangedProviderAccountResponse(
        provider_account=ProviderAccountView.from_row(changed.account), audit_id=str(changed.audit_id)
    )


@delete(
    "/{provider_code:str}",
    opt=route(scope=Scope.ADMIN, idempotency=Idempotency.REPEATABLE, contract="3.13"),
    status_code=HTTPStatus.OK,
)
async def delete_provider_account(
    slug: FromPath[str], provider_code: FromPath[str], db: Db, queue: Queue, caller: CurrentCaller
) -> DeletedProviderAccountResponse:
    """Remove a provider account for good; its secrets stay."""
    unpause = Unpause(queue)
    audit_id = await service.delete_provider_account(
        db, slug=slug, code=provider_code, actor=caller.user_id, also=unpause.lift
    )
    await unpause.notify()
    return DeletedProviderAccountResponse(provider_code=provider_code, audit_id=str(audit_id))


@post(
    "/{provider_code:str}/check",
    opt=route(scope=(Scope.SPEND, Scope.SECRETS), idempotency=Idempotency.READ, contract=None),
    status_code=HTTPStatus.OK,
)
async def check_provider_account(
    *,
    slug: FromPath[str],
    provider_code: FromPath[str],
    db: Db,
    queue: Queue,
    keyring: Keys,
    settings: AppSettings,
    providers: Providers,
) -> CheckProviderAccountResponse:
    """Ask the provider whether the project's key and address work, at no cost.

    The key is the project's secret `api_key` of this provider, else the installation's. If all is well,
    jobs that stood still because of a refused key go on. Needs no account: without one, the provider's
    own address is asked.
    """
    checked = await check_provider(db, queue, keyring, settings, providers, slug=slug, code=provider_code)
    return CheckProviderAccountResponse(
        provider_code=checked.provider_code, check=ProviderCheckView.of(checked)
    )


router = Router(
    "/api/projects/{slug:str}/provider-accounts",
    route_handlers=[
        list_provider_accounts,
        upsert_provider_account,
        get_provider_account,
        change_provider_account,
        delete_provider_account,
        check_provider_account,
    ],
    tags=["provider accounts"],
)
