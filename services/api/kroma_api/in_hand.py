"""The requests being answered: not more than fit, and known, so that a stopping server can end them."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from kroma_api.errors import ServerBusyError, ServerStoppedError, send_error

ON_STOP: Final = "kroma.on_stop"
"""Where a request's scope has the set of what is called when the server is told to stop."""

MOST_AT_WORK: Final = 512
"""Requests that are worked on at a time. Whoever asks more often than this process can answer would else
fill its memory with requests that nobody waits for any more."""


class RequestsInHand:
    """Knows the task of each request; one that is cancelled here still gets an answer."""

    def __init__(self, *, most: int = MOST_AT_WORK) -> None:
        self._most = most
        self._at_work = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_stopping = False
        self._on_stop: set[Callable[[], None]] = set()

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application, with its requests known here."""

        async def known(scope: Scope, receive: Receive, send: Send) -> None:
            if not _is_work(scope):
                await self._carry(app, scope, receive, send)
            elif self._at_work >= self._most:
                await send_error(ServerBusyError(), send)
            else:
                self._at_work += 1
                try:
                    await self._carry(app, scope, receive, send)
                finally:
                    self._at_work -= 1

        return known

    async def _carry(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        if task is None:
            msg = "the server runs every request in a task"
            raise RuntimeError(msg)
        self._tasks.add(task)
        cast("dict[str, Any]", scope)[ON_STOP] = self._on_stop
        is_begun = False

        async def noticed(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            await app(scope, receive, noticed)
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise
            if is_begun:  # who reads it must see that the rest is missing
                raise ServerStoppedError from None
            await send_error(ServerStoppedError(), send)
        finally:
            self._tasks.discard(task)

    def announce_stop(self) -> None:
        """Let those go that would wait for more, like the readers of events."""
        for call in tuple(self._on_stop):
            call()

    def stop(self) -> None:
        """End every request in hand with an error."""
        self._is_stopping = True
        for task in self._tasks:
            task.cancel()


def _is_work(scope: Scope) -> bool:
    """Whether a request is to be answered soon.

    Readers of events and who waits for a run's end sit still; a probe asks whether a busy server lives.
    """
    if scope["type"] != "http" or scope["path"].startswith("/health"):
        return False
    return not any(
        (name == b"accept" and b"text/event-stream" in value) or (name == b"prefer" and b"wait" in value)
        for name, value in scope["headers"]
    )
