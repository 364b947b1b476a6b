"""``/api/projects/{slug}/budget`` and ``/api/projects/{slug}/runs/quote``: money before it is spent."""

from http import HTTPStatus

import msgspec
from litestar import Router, delete, get, post, put
from litestar.params import FromPath, JSONBody

from kroma.aside import aside
from kroma.auth.scopes import Scope
from kroma.pipeline.planning.quote import quote_run
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.spend import queries, service
from kroma_api.dependencies import AppSettings, Cpu, CurrentCaller, Db, Providers, Stores
from kroma_api.route_facts import Idempotency, route
from kroma_api.schemas.runs import TriggerRunRequest
from kroma_api.schemas.spend import (
    BudgetResponse,
    BudgetView,
    ChangedBudgetResponse,
    DeletedBudgetResponse,
    QuoteResponse,
    QuoteView,
    SetBudgetRequest,
)


@get("/budget", opt=route(scope=(Scope.READ, Scope.ADMIN), idempotency=Idempotency.READ, contract=None))
async def get_budget(slug: FromPath[str], db: Db) -> BudgetResponse:
    """A project's budget, and how much of it is spent and held now."""
    async with db.reading() as reader:
        state = await queries.get_budget(reader, slug)
    return BudgetResponse(budget=BudgetView.of(state))


@put(
    "/budget",
    opt=route(
        scope=Scope.ADMIN,
        idempotency=Idempotency.REPEATABLE,
        contract=None,
        example={"limit_usd": 25.0, "period": "month", "warning_levels": [0.5, 0.8]},
    ),
)
async def set_budget(
    slug: FromPath[str], data: JSONBody[SetBudgetRequest], db: Db, caller: CurrentCaller
) -> ChangedBudgetResponse:
    """Set how much a project may spend in a day, a month or in all; what it spent before counts."""
    changed = await service.set_budget(
        db,
        slug=slug,
        limit_usd=data.limit_usd,
        period=data.period,
        warning_levels=data.warning_levels,
        actor=caller.user_id,
    )
    return ChangedBudgetResponse(budget=BudgetView.of(changed.state), audit_id=str(changed.audit_id))


@delete(
    "/budget",
    opt=route(scope=Scope.ADMIN, idempotency=Idempotency.REPEATABLE, contract=None),
    status_code=HTTPStatus.OK,
)
async def delete_budget(slug: FromPath[str], db: Db, caller: CurrentCaller) -> DeletedBudgetResponse:
    """Let a project spend without a limit."""
    audit_id = await service.delete_budget(db, slug=slug, actor=caller.user_id)
    return DeletedBudgetResponse(audit_id=str(audit_id))


@post(
    "/runs/quote",
    opt=route(
        scope=Scope.READ,
        idempotency=Idempotency.READ,
        contract=None,
        example={
            "mode": "run",
            "confirm_spend": True,
            "input": "scenes",
            "style_refs": ["styles/ink.png"],
            "candidates": 2,
        },
    ),
    status_code=HTTPStatus.OK,
)
async def quote(
    *,
    slug: FromPath[str],
    data: JSONBody[TriggerRunRequest],
    db: Db,
    stores: Stores,
    settings: AppSettings,
    providers: Providers,
    cpu: Cpu,
    caller: CurrentCaller,
) -> QuoteResponse:
    """Plan and price what a trigger with this body would make; nothing is stored and nothing spent."""
    # Nothing is spent here, so there is nothing to confirm.
    spec = await aside(
        len(data.scene_refs or ()), RunSpec.checked, msgspec.structs.replace(data, confirm_spend=True)
    )
    quoted = await quote_run(
        db,
        stores,
        settings,
        slug=slug,
        spec=spec,
        providers=providers,
        cpu=cpu,
        is_confined=caller.is_confined,
    )
    return QuoteResponse(quote=QuoteView.of(quoted), quote_token=quoted.token)


router = Router(
    "/api/projects/{slug:str}",
    route_handlers=[get_budget, set_budget, delete_budget, quote],
    tags=["spend"],
)
