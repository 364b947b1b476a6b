"""The requests being answered, so that a stopping server can end them."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from litestar.types import ASGIApp, Receive, Scope, Send

from kroma.errors import InfraError
from kroma_api.errors import send_error

ON_STOP: Final = "kroma.on_stop"
"""Where a request's scope has the set of what is called when the server is told to stop."""


class ServerStoppedError(InfraError):
    """The server was told to stop before the answer was ready."""

    def __init__(self) -> None:
        super().__init__("the server stopped with this request in hand")


class RequestsInHand:
    """Knows the task of each request; one that is cancelled here still gets an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_stopping = False
        self._on_stop: set[Callable[[], None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        task = asyncio.current_task()
        if task is None:
            msg = "the server runs every request in a task"
            raise RuntimeError(msg)
        self._tasks.add(task)
        cast("dict[str, Any]", scope)[ON_STOP] = self._on_stop
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise
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
