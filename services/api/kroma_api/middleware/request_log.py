"""An id and a log line for every request."""

import time
from http import HTTPStatus
from typing import Any, Final, cast

import structlog
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, reset_contextvars

from kroma.logs import request_id_of
from kroma.metrics import REQUEST_SECONDS, REQUESTS
from kroma_api.http.errors import send_error
from kroma_api.middleware.logged_path import logged_path, logged_segment

log: structlog.stdlib.BoundLogger = structlog.get_logger()

HEALTH_PATHS: Final = frozenset({"/health", "/health/live", "/health/ready"})
_ID_HEADER: Final = b"x-request-id"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


class RequestLog:
    """Gives each request an id, echoed in ``X-Request-Id``, logs one line per request, and counts it.

    A caller's own ``X-Request-Id`` is taken over where it is 1 to 64 letters, digits, ``.``, ``_`` or ``-``.

    Neither headers nor the query are logged, nor what in a path is neither a name nor an id. Good health
    is not, either: probes would drown what matters.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(_given_id(scope))
        bound = bind_contextvars(request_id=request_id)
        try:
            await self._answer(scope, receive, _SendWithId(send, request_id))
        finally:
            reset_contextvars(**bound)

    async def _answer(self, scope: HTTPScope, receive: Receive, send: "_SendWithId") -> None:
        started = time.perf_counter()
        method, path = scope["method"], scope["path"]
        try:
            await self._app(scope, receive, send)
        except Exception as exc:
            log.exception("request failed", exc_info=exc)
            if send.status:
                _note(method, path, scope, send.status, started)
                raise
            await send_error(exc, send)
        _note(method, path, scope, send.status, started)


def _note(method: str, path: str, scope: HTTPScope, status: int, started: float) -> None:
    took_s = time.perf_counter() - started
    _count(method, scope, status, took_s)
    if path not in HEALTH_PATHS or status != HTTPStatus.OK:
        log.info(
            "request",
            method=method,
            path=logged_path(path),
            status=status,
            duration_ms=round(took_s * 1000, 2),
            **_named_ids(scope),
        )


def _given_id(scope: HTTPScope) -> str | None:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == _ID_HEADER), None)


def _routed(scope: HTTPScope) -> dict[str, Any]:
    """What the router found, if the request came as far as that."""
    return cast("dict[str, Any]", scope)


def _named_ids(scope: HTTPScope) -> dict[str, str]:
    """What of a path helps to find a request again: ids, and the project."""
    given = _routed(scope).get("path_params", {})
    return {
        shown: logged_segment(str(given[name]))
        for name, shown in (("run_id", "run_id"), ("job_id", "job_id"), ("slug", "project"))
        if name in given
    }


def _count(method: str, scope: HTTPScope, status: int, took_s: float) -> None:
    # The template, not the path: there are as many paths as there are things.
    route = _routed(scope).get("path_template") or "unknown"
    known = method if method in _METHODS else "other"
    REQUESTS.labels(known, route, str(status)).inc()
    REQUEST_SECONDS.labels(known, route).observe(took_s)


class _SendWithId:
    """Adds the request's id to a reply and remembers its status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._header = (_ID_HEADER, request_id.encode())
        self.status = 0
        """0 before the reply has begun."""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), self._header]
        await self._send(message)
