"""What a route says about itself: facts on its handler, and the table that finds them for a request.

A handler states them where it is declared: ``@get("/", opt=route(scope=Scope.READ))``.
"""

from typing import Any, Final

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from litestar.types.internal_types import PathParameterDefinition

from kroma.auth.scopes import Scope

Scopes = tuple[Scope, ...]

NO_TOKEN: Final[Scopes] = ()
"""The route is open to everyone, or checks a signature of its own."""
VIEW: Final[Scopes] = (Scope.READ, Scope.REVIEW)
"""What a reviewer needs to see: pictures and how they were made, but neither money nor settings."""

_KEY: Final = "kroma.route"


class RouteFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What must be known of a route before its handler is called."""

    scope: Scopes
    """Any one of these opens the route; the first is the one to ask for."""


class MissingRouteFactsError(TypeError):
    """A handler was declared without ``opt=route(...)``."""

    def __init__(self, handler: HTTPRouteHandler) -> None:
        super().__init__(f"{handler.handler_name} says nothing about itself: give it opt=route(scope=...)")


def route(*, scope: Scope | Scopes) -> dict[str, Any]:
    """The ``opt`` of a handler."""
    return {_KEY: RouteFacts(scope=(scope,) if isinstance(scope, Scope) else scope)}


def facts_of(handler: HTTPRouteHandler) -> RouteFacts:
    """What a handler says about itself.

    Raises:
        MissingRouteFactsError: Nothing.
    """
    facts = handler.opt.get(_KEY)
    if not isinstance(facts, RouteFacts):
        raise MissingRouteFactsError(handler)
    return facts


class _Node:
    """A segment of paths, and what may follow it."""

    def __init__(self) -> None:
        self.named: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.takes_rest = False
        self.facts: dict[str, RouteFacts] = {}


class RouteTable:
    """Finds the facts of the route that a request will be given to.

    It takes the same way as Litestar's router: a segment that is named beats a parameter, without a second
    try. ``tests/unit/api/test_route_facts.py`` compares the two.
    """

    def __init__(self, app: Litestar) -> None:
        self._root = _Node()
        for mounted in app.routes:
            if isinstance(mounted, HTTPRoute):
                node = self._node(mounted)
                for handler in mounted.route_handlers:
                    # Litestar adds an OPTIONS handler to every path; PathRules keeps requests from it.
                    for method in handler.http_methods - {"OPTIONS"}:
                        node.facts[str(method)] = facts_of(handler)

    def find(self, method: str, path: str) -> RouteFacts | None:
        """The facts of a route; None where the router answers 404 or 405.

        Args:
            method: As sent; HEAD is GET.
            path: As ``front.PathRules`` gives it to the router.
        """
        node = self._root
        for segment in filter(None, path.split("/")):
            following = node.named.get(segment) or node.parameter
            if following is None:
                return None
            node = following
            if node.takes_rest:
                break
        return node.facts.get("GET" if method == "HEAD" else method)

    def _node(self, mounted: HTTPRoute) -> _Node:
        node = self._root
        for component in mounted.path_components:
            if isinstance(component, PathParameterDefinition):
                node.parameter = node.parameter or _Node()
                node = node.parameter
                node.takes_rest = component.full.endswith(":path")
            else:
                node = node.named.setdefault(component, _Node())
        return node
