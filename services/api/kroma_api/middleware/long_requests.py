"""Requests that last: their token is looked at again, so that a revoked one gets and brings nothing more."""

import asyncio
from datetime import timedelta
from typing import Any

import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from kroma.auth.caller import Caller
from kroma.auth.errors import InvalidTokenError
from kroma.auth.service import is_active
from kroma.db.engine import Database
from kroma_api.http.errors import send_error

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class TokenEndedError(TimeoutError):
    """The token of a request ended while it was answered.

    Whoever streams lets such a reader go as one that takes nothing any more.
    """


class TokenWatch:
    """Looks at the token of a request again as long as it sends or receives.

    That is event streams, waits for a run's end, uploads and downloads. All others end before it is time for
    the first look, and pay nothing.
    """

    def __init__(self, app: ASGIApp, db: Database, *, every: timedelta) -> None:
        """Before ``app``, behind who knows the caller.

        Args:
            every: How often event streams show that they live, which is when they are looked at.
        """
        self._app = app
        self._db = db
        self._every_s = every.total_seconds() / 2  # a heartbeat that comes a little early counts as well

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["user"].token_id is None:
            await self._app(scope, receive, send)
            return
        watched = _Watch(self._db, scope["user"], receive, send, every_s=self._every_s)
        await self._app(scope, watched.receive, watched.send)


class _Watch:
    def __init__(self, db: Database, caller: Caller, receive: Receive, send: Send, *, every_s: float) -> None:
        self._db = db
        self._caller = caller
        self._receive = receive
        self._send = send
        self._every_s = every_s
        self._looked_at = asyncio.get_running_loop().time()
        self._has_ended = False

    async def receive(self) -> Any:  # noqa: ANN401 - HTTP's half of what a server may give
        """The next message.

        Raises:
            InvalidTokenError: The token has ended, so that nobody takes the rest of the body.
        """
        message: Any = await self._receive()
        if message["type"] == "http.request" and not await self._is_allowed():
            raise InvalidTokenError
        return message

    async def send(self, message: Message) -> None:
        """Pass a message on; when the token has ended, the answer does, too.

        Raises:
            TokenEndedError: It has.
        """
        if self._has_ended:
            if message["type"] == "http.response.body" and not message["more_body"]:
                return
            raise TokenEndedError
        if await self._is_allowed():
            await self._send(message)
            return
        self._has_ended = True
        if message["type"] == "http.response.start":
            await send_error(InvalidTokenError(), self._send)
            return
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        raise TokenEndedError

    async def _is_allowed(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._looked_at < self._every_s:
            return True
        self._looked_at = now
        try:
            return await is_active(self._db, self._caller)
        except Exception as exc:  # noqa: BLE001 - whatever it is: without the database there are no news to give away
            log.warning("token.not_looked_at", error=type(exc).__name__)
            return True
