"""How long a request's body may take, and what becomes of one that does not come whole."""

import asyncio
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from kroma.errors import KromaError
from kroma_api.http.errors import HttpRuleError, send_error

SLOWEST_BYTES_S: Final = 8 * 1024
"""Of a sender that is still waited for, on average: a modem's pace. 2 MiB of JSON have four minutes, a form
of 512 MiB has a working day, and no sender holds what it was given for ever."""


class BodyCutOffError(HttpRuleError):
    """The caller has gone, or said nothing more, before the body was whole."""

    def __init__(self) -> None:
        super().__init__(
            HTTPStatus.BAD_REQUEST,
            "The connection ended before the request body was complete; send it again",
        )


class BodyTooSlowError(HttpRuleError):
    """The caller sends nothing, or too little, and is not waited for any more."""

    code = "request_timeout"

    def __init__(self, problem: str) -> None:
        text = f"{problem}; send it again"
        super().__init__(HTTPStatus.REQUEST_TIMEOUT, text, headers={"Connection": "close"})


class Bodies:
    """Gives the body of every request an end.

    It stands around everything that reads bodies, so that no route can forget it: reading raises one of our
    errors, and what is not answered before it comes here is answered here.
    """

    def __init__(self, app: ASGIApp, *, stall: timedelta) -> None:
        """Wrap ``app``.

        Args:
            stall: How long a sender may send nothing.
        """
        self._app = app
        self._stall = stall

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_begun = False

        async def note_and_send(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            await self._app(scope, _TimedBody(receive, self._stall).receive, note_and_send)
        except KromaError as exc:
            if not is_begun:
                await send_error(exc, send)
            elif not isinstance(exc, HttpRuleError):  # else the answer ends short of its length
                raise


class _TimedBody:
    """The messages of one request; only the time that its sender is waited for counts."""

    def __init__(self, receive: Receive, stall: timedelta) -> None:
        self._receive = receive
        self._stall_s = stall.total_seconds()
        self._left_s = self._stall_s
        """Grows with every byte that comes."""
        self._is_whole = False

    async def receive(self) -> Any:  # noqa: ANN401 - HTTP's half of what a server may give
        """The next message; behind a whole body that is the end of the connection, whenever that comes.

        Raises:
            BodyCutOffError: The body ends before it is whole.
            BodyTooSlowError: It does not come in time.
        """
        if self._is_whole:
            return await self._receive()
        message: Any = await self._next()
        if message["type"] != "http.request":
            raise BodyCutOffError
        self._left_s += len(message["body"]) / SLOWEST_BYTES_S
        self._is_whole = not message["more_body"]
        return message

    async def _next(self) -> Message:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(min(self._stall_s, self._left_s)):
                message: Any = await self._receive()
        except TimeoutError as exc:
            if self._left_s < self._stall_s:
                raise BodyTooSlowError(
                    f"The request body arrived at less than {SLOWEST_BYTES_S} bytes a second"
                ) from exc
            raise BodyTooSlowError(f"No part of the request body arrived for {self._stall_s:g} s") from exc
        self._left_s -= loop.time() - began
        return message
