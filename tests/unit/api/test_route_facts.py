"""The facts of a route are those of the handler that the router would call."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from litestar import Litestar, get, post, put
from litestar.exceptions import HTTPException
from litestar.params import JSONBody
from litestar.routes import HTTPRoute
from litestar.utils import normalize_path

from kroma.auth.scopes import Scope
from kroma_api.app import route_table, routes
from kroma_api.route_facts import Idempotency, MissingRouteFactsError, RouteFacts, RouteTable, facts_of, route

pytestmark = pytest.mark.timeout(60)

PATHS = sorted(mounted.path_format for mounted in routes().routes)
NAMED = sorted({part for path in PATHS for part in path.split("/") if part and not part.startswith("{")})
SEGMENTS = st.sampled_from([*NAMED, "", "a", "a b", "\0", "GET", "{slug}", "é"])
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "get", "BREW"])


def routed_facts(method: str, path: str) -> RouteFacts | None:
    """What the router's own choice says about itself."""
    try:
        handler = routes().asgi_router.handle_routing(path=normalize_path(path), method=method)[1]
    except HTTPException:
        return None
    return facts_of(handler)


@settings(max_examples=600, deadline=None)
@given(method=METHODS, segments=st.lists(SEGMENTS, max_size=10))
@example(method="GET", segments=["api", "projects", "a", "runs", "trigger"])
@example(method="DELETE", segments=["api", "projects", "a", "secrets", "rotate", "x"])
@example(method="DELETE", segments=["api", "projects", "a", "secrets", "b", "c", "d"])
@example(method="DELETE", segments=["api", "projects", "a", "secrets", "b", "", "c"])
@example(method="GET", segments=["health", "live", ""])
def test_the_table_finds_what_the_router_finds(method: str, segments: list[str]) -> None:
    path = "/" + "/".join(segments)

    assert route_table().find(method, path) is routed_facts(method, path)


@pytest.mark.parametrize("path_format", PATHS)
@settings(max_examples=20, deadline=None)
@given(method=METHODS, segment=SEGMENTS.filter(bool), more=st.lists(SEGMENTS, max_size=2))
def test_the_table_finds_what_the_router_finds_near_each_route(
    path_format: str, method: str, segment: str, more: list[str]
) -> None:
    parts = [segment if part.startswith("{") else part for part in path_format.split("/")]
    path = "/".join([*parts, *more])

    assert route_table().find(method, path) is routed_facts(method, path)


def test_the_table_knows_every_handler() -> None:
    for mounted in routes().routes:
        assert isinstance(mounted, HTTPRoute)
        path = mounted.path_format.replace("{", "").replace("}", "")
        for handler in mounted.route_handlers:
            for method in handler.http_methods - {"OPTIONS"}:
                assert route_table().find(method, path) is facts_of(handler)


def test_head_is_get() -> None:
    table = route_table()

    assert table.find("HEAD", "/api/projects") is table.find("GET", "/api/projects")
    assert table.find("HEAD", "/auth/token") is None


def test_a_handler_that_says_nothing_ends_the_start() -> None:
    @get("/bare")
    async def bare() -> None:
        """Say nothing."""

    with pytest.raises(MissingRouteFactsError, match=r"bare lacks route facts"):
        RouteTable(Litestar([bare], openapi_config=None))


def test_a_scope_may_be_one_or_several() -> None:
    @get("/one", opt=route(scope=Scope.READ, idempotency=Idempotency.READ, contract=None))
    async def one() -> None:
        """Need one."""

    @get("/two", opt=route(scope=(Scope.READ, Scope.STORAGE), idempotency=Idempotency.READ, contract=None))
    async def two() -> None:
        """Need one of two."""

    table = RouteTable(Litestar([one, two], openapi_config=None))

    one_scope, two_scopes = table.find("GET", "/one"), table.find("GET", "/two")
    assert one_scope is not None
    assert one_scope.scope == (Scope.READ,)
    assert two_scopes is not None
    assert two_scopes.scope == (Scope.READ, Scope.STORAGE)


@pytest.mark.parametrize("missing", ["scope", "idempotency", "contract"])
def test_a_fact_that_is_not_stated_fails_where_the_route_is_declared(missing: str) -> None:
    facts: dict[str, Any] = {"scope": Scope.READ, "idempotency": Idempotency.READ, "contract": None}
    del facts[missing]

    with pytest.raises(TypeError, match=missing):
        route(**facts)


def test_a_json_body_without_an_example_ends_the_start() -> None:
    @post("/new", opt=route(scope=Scope.CREATE, idempotency=Idempotency.REPLAYED, contract=None))
    async def create(data: JSONBody[dict[str, str]]) -> None:
        """Take a body."""

    with pytest.raises(MissingRouteFactsError, match="so give route"):
        RouteTable(Litestar([create], openapi_config=None))


def test_only_a_post_takes_a_key() -> None:
    @put("/set", opt=route(scope=Scope.CREATE, idempotency=Idempotency.REPLAYED, contract=None))
    async def change() -> None:
        """Set something."""

    with pytest.raises(MissingRouteFactsError, match="only a POST"):
        RouteTable(Litestar([change], openapi_config=None))
