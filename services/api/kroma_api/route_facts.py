"""What a route says about itself: facts on its handler, and the table that finds them for a request.

A handler states them where it is declared, as ``opt=route(scope=..., idempotency=..., contract=...)``.
A fact that is missing fails at import; what only the whole application can tell, when the table is built.
"""

from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import Any, Final

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from litestar.types.internal_types import PathParameterDefinition

from kroma.auth.scopes import Scope
from kroma_api.http.errors import MAX_BODY_BYTES, MAX_FORM_BYTES, MAX_UPLOAD_BYTES

Scopes = tuple[Scope, ...]

NO_TOKEN: Final[Scopes] = ()
"""The route is open to everyone, or checks a signature of its own."""
VIEW: Final[Scopes] = (Scope.READ, Scope.REVIEW)
"""What a reviewer needs to see: pictures and how they were made, but neither money nor settings."""

_KEY: Final = "kroma.route"


class Idempotency(Enum):
    """What ``Idempotency-Key`` means on a route."""

    READ = auto()
    """Nothing: the route changes nothing."""
    REPEATABLE = auto()
    """Nothing: the same request again leads to the same state."""
    REPLAYED = auto()
    """The first response is sent again; after a crash that lost it, the next request is told so."""
    REBUILT = auto()
    """As REPLAYED, but after a crash the route runs again and finds what it made by the record's id."""
    SECRET = auto()
    """As REPLAYED, but a successful response holds a secret and is never stored."""

    @property
    def takes_key(self) -> bool:
        return self not in {Idempotency.READ, Idempotency.REPEATABLE}


class Payload(Enum):
    """What a route takes and returns."""

    JSON = auto()
    EVENTS = auto()
    """Returns JSON or an event stream."""
    TOOL_FORM = auto()
    """Takes a form with one picture; returns JSON or a picture."""
    PICTURE_FORM = auto()
    """Takes a form with many pictures; returns JSON."""
    PICTURE = auto()
    """Returns a picture file."""
    THUMBNAIL = auto()
    """Returns a thumbnail."""

    @property
    def max_body_bytes(self) -> int:
        return _MAX_BODY_BYTES.get(self, MAX_BODY_BYTES)


_MAX_BODY_BYTES: Final = {Payload.TOOL_FORM: MAX_UPLOAD_BYTES, Payload.PICTURE_FORM: MAX_FORM_BYTES}


class RouteFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What must be known of a route before its handler is called."""

    scope: Scopes
    """Any one of these opens the route; the first is the one to ask for."""
    idempotency: Idempotency
    contract: str | None
    """The section of the HTTP contract that describes the route; None for one of our own."""
    payload: Payload = Payload.JSON
    example: Mapping[str, Any] | None = None
    """A JSON body for the OpenAPI document; every route that takes JSON has one."""
    etag: bool = False
    """A weak ``ETag`` of a run comes with the response."""
    signed: bool = False
    """A signature in the address stands for the bearer token."""
    body_names_project: bool = False
    """The body may name a project, so that a path without parameters can answer 404."""
    slash_in_last: bool = False
    """The last parameter of the path may contain a slash, sent as ``%2F``."""


class MissingRouteFactsError(TypeError):
    """A handler was declared without ``opt=route(...)``, or without a fact that its kind of route needs."""

    def __init__(self, handler: HTTPRouteHandler, remedy: str) -> None:
        super().__init__(f"{handler.handler_name} lacks route facts: {remedy}")


def route(
    *,
    scope: Scope | Scopes,
    idempotency: Idempotency,
    contract: str | None,
    payload: Payload = Payload.JSON,
    example: Mapping[str, Any] | None = None,
    etag: bool = False,
    signed: bool = False,
    body_names_project: bool = False,
    slash_in_last: bool = False,
) -> dict[str, Any]:
    """The ``opt`` of a handler."""
    facts = RouteFacts(
        scope=(scope,) if isinstance(scope, Scope) else scope,
        idempotency=idempotency,
        contract=contract,
        payload=payload,
        example=example,
        etag=etag,
        signed=signed,
        body_names_project=body_names_project,
        slash_in_last=slash_in_last,
    )
    return {_KEY: facts}


def facts_of(handler: HTTPRouteHandler) -> RouteFacts:
    """What a handler says about itself.

    Raises:
        MissingRouteFactsError: It has no ``opt=route(...)``, or lacks what its kind of route needs.
    """
    facts = handler.opt.get(_KEY)
    if not isinstance(facts, RouteFacts):
        raise MissingRouteFactsError(handler, "give it opt=route(scope=..., idempotency=..., contract=...)")
    if handler.parsed_data_field is not None and facts.example is None:
        raise MissingRouteFactsError(handler, "it takes a JSON body, so give route(...) an example")
    if facts.idempotency.takes_key and "POST" not in handler.http_methods:
        raise MissingRouteFactsError(handler, "only a POST takes an Idempotency-Key")
    return facts


def documented_routes(app: Litestar) -> dict[tuple[str, str], RouteFacts]:
    """The facts of what the OpenAPI document describes, by method and path."""
    return {
        (str(method), mounted.path_format): facts_of(handler)
        for mounted in app.routes
        if isinstance(mounted, HTTPRoute)
        for handler in mounted.route_handlers
        if handler.resolve_include_in_schema()
        for method in handler.http_methods
    }


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
        node = self._find_node(filter(None, path.split("/")))
        return None if node is None else node.facts.get("GET" if method == "HEAD" else method)

    def may_end_with_slash(self, path: str) -> bool:
        """Whether the last parameter of the route at a path may contain a slash.

        Args:
            path: With ``%2F`` for the slashes inside of segments.
        """
        node = self._find_node(filter(None, path.split("/")))
        return node is not None and any(facts.slash_in_last for facts in node.facts.values())

    def _find_node(self, segments: Iterable[str]) -> _Node | None:
        node = self._root
        for segment in segments:
            following = node.named.get(segment) or node.parameter
            if following is None:
                return None
            node = following
            if node.takes_rest:
                break
        return node

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
