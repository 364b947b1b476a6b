"""Bytes of bodies that all requests together may hold, in memory and on disk, shared in turn."""

import asyncio
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, Final

from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from kroma.shares import SharedLimit, Turn, TurnQueue, current_share
from kroma_api.http.errors import MAX_BODY_BYTES, ServerBusyError
from kroma_api.route_facts import RouteTable

MEMORY_BYTES: Final = 32 * 1024**2
"""Of JSON bodies, which a route has in memory; one caller alone has at most half."""
DISK_BYTES: Final = 2 * 1024**3
"""Of forms, whose files wait on disk until all of them are there; one caller has at most half. A tool's form
with an ``Idempotency-Key`` lies there twice, and so does a BMP or TIFF, as the PNG that it becomes."""
WAIT: Final = timedelta(seconds=30)
"""How long a request waits for its turn before it is told to come again."""
_COUNTED_BYTES: Final = 64 * 1024
"""A body of unknown length is counted in steps of this."""


class BodyBudget:
    """Lets the body of a request come when there is room for it.

    The room is asked for when the body is first read and given back at the request's end, so that what is
    refused before its body is read takes none. A form that says how long it is waits for its turn. JSON, and
    a form that does not say it, is counted as it comes, and refused when there is no room: if it waited with
    what it has, two could wait for each other. Of JSON only what is there counts, since a few senders that
    promise much and send nothing would else hold all of the little room there is.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: RouteTable,
        *,
        memory_bytes: int = MEMORY_BYTES,
        disk_bytes: int = DISK_BYTES,
        wait: timedelta = WAIT,
    ) -> None:
        """Before ``app``, behind who sets the share key."""
        self._app = app
        self._routes = routes
        self._memory = SharedLimit(memory_bytes)
        self._disk = TurnQueue(disk_bytes, most_per_key=disk_bytes // 2)
        self._wait_s = wait.total_seconds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (declared := _declared(scope)) == 0:
            await self._app(scope, receive, send)
            return
        facts = self._routes.find(scope["method"], scope["path"])
        limit = MAX_BODY_BYTES if facts is None else facts.payload.max_body_bytes
        with ExitStack() as room:
            if limit <= MAX_BODY_BYTES:
                counted = _CountedInMemory(receive, self._memory, room).receive
            else:
                if declared is not None:
                    # What is larger than its route allows is refused there, however much of it comes first.
                    declared = min(declared, limit, self._disk.most_per_key)
                counted = _Counted(receive, self._disk, room, declared=declared, wait_s=self._wait_s).receive
            await self._app(scope, counted, send)


class _CountedInMemory:
    def __init__(self, receive: Receive, budget: SharedLimit, room: ExitStack) -> None:
        self._receive = receive
        self._budget = budget
        self._room = room
        self._share = current_share.get()

    async def receive(self) -> Any:  # noqa: ANN401 - HTTP's half of what a server may give
        """The next message.

        Raises:
            ServerBusyError: There is no room for what came.
        """
        message: Any = await self._receive()
        if message["type"] == "http.request" and message["body"]:
            size_bytes = len(message["body"])
            if not self._budget.take(self._share, size_bytes):
                raise ServerBusyError
            self._room.callback(self._budget.give_back, self._share, size_bytes)
        return message


class _Counted:
    def __init__(
        self, receive: Receive, budget: TurnQueue, turns: ExitStack, *, declared: int | None, wait_s: float
    ) -> None:
        self._receive = receive
        self._budget = budget
        self._turns = turns
        self._declared = declared
        self._wait_s = wait_s
        self._room = 0
        self._came = 0

    async def receive(self) -> Any:  # noqa: ANN401 - HTTP's half of what a server may give
        """The next message.

        Raises:
            ServerBusyError: There is no room for the body.
        """
        if self._declared is not None and not self._room:
            self._hold(await self._in_turn(self._declared), self._declared)
        message: Any = await self._receive()
        if message["type"] == "http.request":
            self._came += len(message["body"])
            while self._declared is None and self._came > self._room:
                self._hold(self._budget.try_take(units=_COUNTED_BYTES), _COUNTED_BYTES)
        return message

    async def _in_turn(self, size_bytes: int) -> Turn | None:
        try:
            async with asyncio.timeout(self._wait_s):
                return await self._budget.take(units=size_bytes)
        except TimeoutError:
            return None

    def _hold(self, turn: Turn | None, size_bytes: int) -> None:
        if turn is None:
            raise ServerBusyError
        self._turns.callback(turn.end)
        self._room += size_bytes


def _declared(scope: HTTPScope) -> int | None:
    """How long the body is; None if its sender does not say, 0 if there is none."""
    length: int | None = 0
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return None
        if name == b"content-length":
            # The server has refused what is no number.
            length = int(value) if value.isdigit() else None
    return length
