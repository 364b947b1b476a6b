"""The requests being answered, so that a stopping server can end them."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from kroma_api.http.errors import ServerStoppedError, send_error
from kroma_api.http.scope import ON_STOP


class InFlightRequests:
    """Knows the task of each request; one that is canceled here still gets an answer."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_stopping = False
        self._on_stop: set[Callable[[], None]] = set()

    def around(self, app: ASGIApp) -> ASGIApp:
        return partial(self._carry, app)

    async def _carry(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        if task is None:
            msg = "the server runs every request in a task"
            raise RuntimeError(msg)
        self._tasks.add(task)
        cast("dict[str, Any]", scope)[ON_STOP] = self._on_stop
        is_begun = False

        async def note_and_send(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            await app(scope, receive, note_and_send)
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
        """End every request in flight with an error."""
        self._is_stopping = True
        for task in self._tasks:
            task.cancel()
