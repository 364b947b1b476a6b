"""The composition root."""

from collections.abc import Sequence
from functools import cache
from typing import Final

from litestar import Litestar, Router
from litestar.types import ASGIApp

from kroma.health.components import parts_probes
from kroma.health.probe import Readiness
from kroma.idempotency.answers import answer_files
from kroma.resources import Resources
from kroma_api.dependencies import DEPENDENCIES, WithResources
from kroma_api.http.errors import EXCEPTION_HANDLERS, MAX_BODY_BYTES
from kroma_api.http.json_response import JsonResponse
from kroma_api.http.request_slot import RequestLimits
from kroma_api.http.strict_json import StrictRequest
from kroma_api.middleware.authentication import Authentication
from kroma_api.middleware.authorization import Authorization
from kroma_api.middleware.bodies import Bodies
from kroma_api.middleware.body_budget import BodyBudget
from kroma_api.middleware.idempotency import IdempotencyKeys
from kroma_api.middleware.in_flight import InFlightRequests
from kroma_api.middleware.long_requests import TokenWatch
from kroma_api.middleware.origins import Origins
from kroma_api.middleware.path_rules import PathRules
from kroma_api.middleware.refused_bodies import RefusedBodies
from kroma_api.middleware.request_log import RequestLog
from kroma_api.middleware.request_slots import RequestSlots
from kroma_api.middleware.security_headers import SecurityHeaders
from kroma_api.route_facts import RouteTable, documented_routes
from kroma_api.routes import (
    asset_links,
    assets,
    audit_events,
    auth,
    baselines,
    bootstrap,
    characters,
    chat,
    costs,
    exports,
    health,
    instructions,
    projects,
    prompt_templates,
    provider_accounts,
    provider_calls,
    quality,
    reference_sets,
    run_control,
    runs,
    schema,
    secrets,
    spend,
    style_guides,
    syncs,
    tools,
)

ROUTERS: Final[Sequence[Router]] = (
    health.router,
    auth.router,
    projects.router,
    syncs.router,
    bootstrap.router,
    runs.router,
    run_control.router,
    baselines.router,
    spend.router,
    assets.router,
    quality.router,
    costs.router,
    asset_links.router,
    exports.router,
    prompt_templates.router,
    provider_accounts.router,
    provider_calls.router,
    style_guides.router,
    characters.router,
    reference_sets.router,
    chat.router,
    secrets.router,
    audit_events.router,
    instructions.router,
    instructions.callback_router,
    tools.router,
)
"""Everything the OpenAPI document describes."""


@cache
def routes() -> Litestar:
    """The routes, without anything to work on."""
    app = Litestar(
        route_handlers=[*ROUTERS, schema.router()],
        dependencies=DEPENDENCIES,
        exception_handlers=EXCEPTION_HANDLERS,
        request_class=StrictRequest,
        response_class=JsonResponse,
        request_max_body_size=MAX_BODY_BYTES,
        openapi_config=None,  # routes/schema.py serves it, with every error reply documented
        logging_config=None,  # front.py and errors.py log
    )
    app.state["contract_routes"] = sum(
        facts.contract is not None for facts in documented_routes(app).values()
    )
    return app


@cache
def route_table() -> RouteTable:
    """What each route says about itself; a handler that says nothing ends the start."""
    return RouteTable(routes())


def api_readiness(resources: Resources) -> Readiness:
    """What the API looks at to know whether it is ready."""
    return Readiness(parts_probes(resources.db, resources.queue, resources.stores, with_workers=True))


def create_app(
    resources: Resources, readiness: Readiness | None = None, *, in_hand: InFlightRequests | None = None
) -> ASGIApp:
    """The API as one ASGI application.

    From the outside in: headers of every answer, the rest of a body that nobody read, request id and log
    line, the requests in flight, host and origin, the time that a body may take, authentication (before
    everything that depends on the path, also of paths that do not exist), the token of a request that lasts,
    path and method rules, scopes, places, room for the body, idempotency keys, routing and bodies.

    Args:
        readiness: What ``/health/ready`` asks; None is the usual.
        in_hand: Knows the requests that are answered, for who stops the server.
    """
    settings, db, table = resources.settings, resources.db, route_table()
    app: ASGIApp = IdempotencyKeys(
        routes(), table, db, files=answer_files(resources.stores), spool_folder=settings.data_dir
    )
    app = BodyBudget(WithResources(app, resources, readiness or api_readiness(resources)), table)
    app = RequestSlots(app, RequestLimits(everybody_is_one=settings.auth_dev_bypass))
    app = PathRules(Authorization(app, table), table)
    app = TokenWatch(app, db, every=settings.events_heartbeat)
    app = Authentication(app, settings=settings, db=db)
    app = Bodies(app, stall=settings.request_stall)
    app = (in_hand or InFlightRequests()).around(Origins(app, settings))
    return SecurityHeaders(RefusedBodies(RequestLog(app)))
