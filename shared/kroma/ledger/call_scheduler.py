"""What the paid calls of one worker share: lines in front of the gates, and calls that nobody awaits."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from kroma.config import ProviderLimits

ANSWER_GRACE: Final = timedelta(seconds=25)
"""For the answer of a call under way when its worker is told to stop; the worker waits a little longer."""
FIRST_RETRY: Final = timedelta(seconds=1)
"""The longest wait after a candidate's first clean refusal; doubled after each further one."""

QueueKey = tuple[str, UUID]
"""Provider and project: calls of one lane pass in the order they came."""


class CallScheduler:
    """One per worker; the tables alone decide who passes, this only keeps callers from crowding them."""

    def __init__(
        self,
        limits: ProviderLimits | None = None,
        *,
        answer_grace: timedelta = ANSWER_GRACE,
        first_retry: timedelta = FIRST_RETRY,
    ) -> None:
        self.limits = limits or ProviderLimits()
        self.answer_grace = answer_grace
        self.first_retry = first_retry
        self.left: set[UUID] = set()
        """Calls that went on when their job had to stop; their answers may come after its end."""
        self._turns: defaultdict[QueueKey, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._slot_freed = asyncio.Event()
        self._under_way: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def waiting(self, queue_key: QueueKey) -> AsyncGenerator[asyncio.Task[Any]]:
        """A place in the lane's line: the task is done when it is the caller's turn, until the block ends."""
        turn = self._turns[queue_key]
        asked = asyncio.ensure_future(turn.acquire())
        try:
            yield asked
        finally:
            # Not awaited in between: an answer and a cancellation cannot both come to a task.
            if asked.done() and not asked.cancelled():
                turn.release()
            else:
                asked.cancel()

    def start(self, call: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Carry a call in a task of its own, which outlives its caller."""
        task = asyncio.ensure_future(call)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        self._slot_freed.set()
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody may wait any more

    async def wait_until_freed(self, *, at_most: timedelta) -> None:
        """Wait until a call of this worker ends, or for so long: other workers' calls end too."""
        self._slot_freed.clear()
        try:
            async with asyncio.timeout(at_most.total_seconds()):
                await self._slot_freed.wait()
        except TimeoutError:
            return

    async def drain(self) -> None:
        """Before the worker ends: give calls that nobody awaits the grace, then write them off."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=self.answer_grace.total_seconds())
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)
