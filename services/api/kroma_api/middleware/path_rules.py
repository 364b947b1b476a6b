"""Which paths and methods reach the router, and HEAD wherever there is GET."""

from http import HTTPStatus
from typing import Any, cast
from urllib.parse import parse_qsl

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from kroma.texts import NulCharacterError
from kroma_api.http.errors import HttpRuleError, send_error
from kroma_api.http.scope import IS_HEAD, SLASH_IN_NAME
from kroma_api.route_facts import RouteTable


class PathRules:
    """Refuses what the router would let through, and answers HEAD wherever GET exists.

    Litestar takes ``/health/`` and ``//health`` for ``/health``; by contract 1.1 they are other
    paths. It also answers OPTIONS by itself, which the contract does not know.
    """

    def __init__(self, app: ASGIApp, routes: RouteTable) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            _check(scope, self._routes)
        except (HttpRuleError, NulCharacterError) as exc:
            await send_error(exc, send)
            return
        if scope["method"] == "HEAD":
            scope["method"] = "GET"
            cast("dict[str, Any]", scope)[IS_HEAD] = True
            await self._app(scope, receive, _without_body(send))
            return
        if scope["method"] == "OPTIONS":
            scope["method"] = "TRACE"  # no route takes it, so the router answers 405 with Allow
        await self._app(scope, receive, send)


def _check(scope: HTTPScope, routes: RouteTable) -> None:
    if "\0" in scope["path"]:
        raise NulCharacterError("path")
    path = scope["path"] = _routed_path(scope, routes)
    if "//" in path or (path != "/" and path.endswith("/")):
        raise HttpRuleError(HTTPStatus.NOT_FOUND)
    query = scope["query_string"]
    if b"%00" in query or b"\0" in query:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        raise NulCharacterError(next((name for name, value in pairs if "\0" in value), "query"))


def _routed_path(scope: HTTPScope, routes: RouteTable) -> str:
    """The path for the router, to which every slash is a border, even one that was sent as ``%2F``."""
    path, raw = scope["path"], scope["raw_path"].decode("latin-1")
    before, _, last = raw.rpartition("/")
    if "%2f" not in last.lower() or "%2f" in before.lower() or "//" in raw:
        return path
    if not routes.may_end_with_slash(raw):
        return path
    *head, name = path.split("/", raw.count("/"))
    return "/".join((*head, name.replace("/", SLASH_IN_NAME)))


def _without_body(send: Send) -> Send:
    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            await send({"type": "http.response.body", "body": b"", "more_body": message["more_body"]})
        else:
            await send(message)

    return send_head
