"""Which host a request names and which page it comes from, before anything else is asked of it."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from kroma.browsers import AnsweredHosts, BadHostError, MisdirectedRequestError, OwnOrigins
from kroma.config import Settings
from kroma_api.http.errors import CrossSiteRequestError, HttpRuleError, send_error

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES: Final = frozenset({"same-origin", "none"})
LONGEST_TARGET: Final = 16 * 1024
"""Of path and query together; the server itself refuses 64 KiB, with an empty answer."""

_SENT: Final = (
    "authorization, content-type, idempotency-key, if-none-match, if-range, last-event-id, prefer, range, "
    "x-request-id"
)
_ANSWERED: Final = (
    "allow, content-disposition, content-range, etag, idempotent-replayed, location, preference-applied, "
    "retry-after, www-authenticate, x-request-id"
)
_PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, DELETE"),
    (b"access-control-allow-headers", _SENT.encode()),
    (b"access-control-max-age", b"600"),
)
_EXPOSED: Final = (b"access-control-expose-headers", _ANSWERED.encode())
_VARY: Final = (b"vary", b"Origin")
_VARY_OF_PREFLIGHT: Final = (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers")


class Origins:
    """Refuses requests for other hosts, and changes that pages of other sites ask for (docs/api.md)."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = AnsweredHosts(settings.public_url, on_loopback=settings.bind.is_loopback)
        self._origins = OwnOrigins(settings.public_url, settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            hosts = _values(scope, b"host")
            self._hosts.check(hosts)
            _check_target(scope)
        except (BadHostError, MisdirectedRequestError, HttpRuleError) as exc:
            await send_error(exc, send)
            return
        if self._origins.has_allowed:
            send = self._readable(scope, send)
        if self._is_preflight(scope):
            await _answer_preflight(send)
        elif scope["method"] in _SAFE or self._may_change(scope, hosts[0]):
            await self._app(scope, receive, send)
        else:
            await send_error(CrossSiteRequestError(), send)

    def _may_change(self, scope: HTTPScope, host: str) -> bool:
        origins = _values(scope, b"origin")
        if origins and all(map(self._origins.is_allowed, origins)):
            return True
        is_own = all(self._origins.is_own(origin, host) for origin in origins)
        return is_own and _OWN_SITES.issuperset(_values(scope, b"sec-fetch-site"))

    def _is_preflight(self, scope: HTTPScope) -> bool:
        return (
            scope["method"] == "OPTIONS"
            and self._allowed(scope) is not None
            and bool(_values(scope, b"access-control-request-method"))
        )

    def _allowed(self, scope: HTTPScope) -> str | None:
        origins = _values(scope, b"origin")
        return origins[0] if len(origins) == 1 and self._origins.is_allowed(origins[0]) else None

    def _readable(self, scope: HTTPScope, send: Send) -> Send:
        """Let pages of an allowed origin read the answer, and caches tell the answers apart."""
        allowed = self._allowed(scope)
        added = [_VARY]
        if allowed is not None:
            added += [(b"access-control-allow-origin", allowed.encode("latin-1")), _EXPOSED]

        async def readable(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        return readable


def _values(scope: HTTPScope, name: bytes) -> Sequence[str]:
    return [value.decode("latin-1") for given, value in scope["headers"] if given == name]


def _check_target(scope: HTTPScope) -> None:
    if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_TARGET:
        problem = f"Path and query together are longer than {LONGEST_TARGET} bytes"
        raise HttpRuleError(HTTPStatus.REQUEST_URI_TOO_LONG, problem)


async def _answer_preflight(send: Send) -> None:
    headers = [*_PREFLIGHT, _VARY_OF_PREFLIGHT]
    await send({"type": "http.response.start", "status": HTTPStatus.NO_CONTENT.value, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
