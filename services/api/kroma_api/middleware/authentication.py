"""Who may call: the decision order of contract 1.8, before any routing.

It wraps the application instead of being Litestar middleware, which never sees unknown paths:
an unknown path without a token must be 401, not 404.
"""

from collections.abc import Iterable
from typing import Final

import structlog
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from kroma.auth.caller import Caller
from kroma.auth.errors import ForbiddenError, InvalidTokenError, MissingTokenError
from kroma.auth.service import authenticate, is_bootstrap_open
from kroma.config import Settings
from kroma.db.engine import Database
from kroma.errors import KromaError
from kroma.instructions.signature import CALLBACK_PATH
from kroma.shares import shared_as
from kroma_api.http.errors import send_error

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_PROJECTS: Final = "/api/projects"
_CALLBACKS: Final = f"{CALLBACK_PATH}/"
_AUTH: Final = "/auth/"
_TOKEN_PATH: Final = "/auth/token"  # noqa: S105 - a path


class Authentication:
    """Puts the ``Caller`` into ``scope["user"]``, or answers 401 or 403 itself."""

    def __init__(self, app: ASGIApp, *, settings: Settings, db: Database) -> None:
        self._app = app
        self._db = db
        self._bypass = settings.auth_dev_bypass
        self._may_bootstrap = settings.auth_bootstrap_first_token and settings.bind.is_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            caller = scope["user"] = await self._caller(scope)
        except KromaError as exc:
            await send_error(exc, send)
            return
        with shared_as(caller.share):
            await self._app(scope, receive, send)

    async def _caller(self, scope: HTTPScope) -> Caller:
        method, path = scope["method"], scope["path"]
        if self._bypass or (method in _READS and not path.startswith((_AUTH, _PROJECTS))):
            return Caller()
        if method == "POST" and path.startswith(_CALLBACKS):
            return Caller()  # an agent has no token; the route checks the signature in its address
        secret = bearer_secret(scope["headers"])
        if secret is None:
            return await self._bootstrap_caller(method, path)
        caller = await self._token_caller(secret, project_slug(path))
        if caller.project_id is not None and (
            path.startswith(_AUTH) or (path == _PROJECTS and method not in _READS)
        ):
            raise ForbiddenError
        return caller

    async def _bootstrap_caller(self, method: str, path: str) -> Caller:
        if method == "POST" and path == _TOKEN_PATH and self._may_bootstrap:
            try:
                if await is_bootstrap_open(self._db):
                    return Caller(is_bootstrap=True)
            except Exception as exc:
                log.exception("the bootstrap check failed", exc_info=exc)
        raise MissingTokenError

    async def _token_caller(self, secret: str, slug: str | None) -> Caller:
        try:
            return await authenticate(self._db, secret, slug=slug)
        except KromaError:
            raise
        except Exception as exc:
            log.exception("the token check failed", exc_info=exc)
            raise InvalidTokenError from exc  # contract 1.6: a failing check is a refusal


def bearer_secret(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The token of ``Authorization: Bearer <token>``; None when the header has another form."""
    for name, value in headers:
        if name.lower() == b"authorization":
            scheme, _, secret = value.decode("latin-1").partition(" ")
            return (secret.strip() or None) if scheme.lower() == "bearer" else None
    return None


def project_slug(path: str) -> str | None:
    """The decoded slug segment of a path below ``/api/projects/``, as the routes will see it."""
    head, separator, tail = path.partition(f"{_PROJECTS}/")
    if head or not separator:
        return None
    return tail.split("/", 1)[0] or None
