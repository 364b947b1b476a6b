"""What one worker carries: not more than it has places for, nothing twice, a suspect by itself."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from kroma.queue.messages import AnyMessage

SLOTS: Final = 4


class WorkerSlots:
    """The slots of a worker, shared by queue messages and what the sweep finds."""

    def __init__(self, slots: int = SLOTS) -> None:
        self.slots = slots
        self._free_slots = asyncio.Semaphore(slots)
        self._in_hand: set[AnyMessage] = set()
        self._one_ended = asyncio.Event()
        self._beside = 0
        """Jobs under way that may have others beside them."""
        self._gate = asyncio.Lock()
        """Held by a suspect from when it begins to wait for quiet until its end."""
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._is_closed = False

    @property
    def free(self) -> int:
        return 0 if self._is_closed else max(0, self.slots - len(self._in_hand))

    @property
    def busy(self) -> int:
        return min(self.slots, len(self._in_hand))

    def holds(self, message: AnyMessage) -> bool:
        """Whether it is carried already, or waits here to be."""
        return message in self._in_hand

    @asynccontextmanager
    async def occupying(self, message: AnyMessage) -> AsyncGenerator[None]:
        """Take a slot for a message that is not being worked on."""
        self._in_hand.add(message)
        try:
            async with self._free_slots:
                if self._is_closed:
                    await asyncio.Event().wait()  # until it is canceled, and goes back to the queue
                yield
        finally:
            self._in_hand.discard(message)
            self._one_ended.set()

    @asynccontextmanager
    async def sharing(self) -> AsyncGenerator[None]:
        """Work that others may go on beside, unless one of them wants to be alone."""
        async with self._gate:
            self._beside += 1
            self._quiet.clear()
        try:
            yield
        finally:
            self._beside -= 1
            if not self._beside:
                self._quiet.set()

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        """Work that nothing else goes on beside."""
        async with self._gate:
            await self._quiet.wait()
            yield

    async def one_ends(self, *, timeout_s: float) -> None:
        """Wait until a task has ended, or the time is up."""
        self._one_ended.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._one_ended.wait()
        except TimeoutError:
            return

    async def close(self, *, grace_s: float) -> None:
        """Take nothing more, and wait a while for running tasks."""
        self._is_closed = True
        deadline = asyncio.get_running_loop().time() + grace_s
        while self._in_hand and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await self.one_ends(timeout_s=left)
