"""The requests being answered, so that a stopping server can end them."""

import asyncio
from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send

from kroma.errors import InfraError
from kroma_api.errors import send_error


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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        task = asyncio.current_task()
        if task is None:
            msg = "the server runs every request in a task"
            raise RuntimeError(msg)
        self._tasks.add(task)
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise
            await send_error(ServerStoppedError(), send)
        finally:
            self._tasks.discard(task)

    def stop(self) -> None:
        """End every request in hand with an error."""
        self._is_stopping = True
        for task in self._tasks:
            task.cancel()
