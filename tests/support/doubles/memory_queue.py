"""A queue inside one process, for tests and for looking at what was rung."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from kroma.queue.base import Handler, serve
from kroma.queue.messages import AnyMessage


class MemoryTaskQueue:
    """Keeps messages in a list until something consumes them."""

    def __init__(self) -> None:
        self.messages: list[AnyMessage] = []
        """Rung and not yet taken, oldest first."""
        self._delayed = 0
        self._arrived = asyncio.Condition()

    async def enqueue_many(self, messages: Sequence[AnyMessage], *, delay: timedelta = timedelta()) -> None:
        if delay > timedelta():
            self._delayed += len(messages)
            asyncio.get_running_loop().call_later(delay.total_seconds(), self._arrive_late, list(messages))
            return
        async with self._arrived:
            self.messages.extend(messages)
            self._arrived.notify_all()

    async def depth(self) -> int:
        return len(self.messages) + self._delayed

    async def consume(self, handler: Handler, *, concurrency: int) -> None:
        await serve(self._take, handler, concurrency=concurrency)

    async def close(self) -> None:
        self.messages.clear()

    async def _take(self, limit: int) -> list[AnyMessage]:
        async with self._arrived:
            await self._arrived.wait_for(lambda: bool(self.messages))
            taken, self.messages[:limit] = self.messages[:limit], []
            return taken

    def _arrive_late(self, messages: list[AnyMessage]) -> None:
        self._delayed -= len(messages)
        self._late = asyncio.ensure_future(self.enqueue_many(messages))
