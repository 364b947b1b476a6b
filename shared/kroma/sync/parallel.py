"""Many small pieces of work at once, within a number and within memory."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

Item = TypeVar("Item")


async def in_parallel(
    items: Iterable[Item], work: Callable[[Item], Awaitable[None]], *, at_once: int
) -> None:
    """Work on all items; the first error cancels what is under way and is raised as it is."""
    waiting = iter(items)

    async def work_off() -> None:
        for item in waiting:
            await work(item)

    workers = [asyncio.ensure_future(work_off()) for _ in range(at_once)]
    try:
        await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for one in workers:
            one.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    for one in workers:
        if not one.cancelled() and (error := one.exception()) is not None:
            raise error


class ByteBudget:
    """How many bytes may be in memory at a time; who comes first is served first."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def holding(self, size_bytes: int) -> AsyncGenerator[None]:
        """Hold so many bytes; more than the limit is let in alone."""
        wanted = min(size_bytes, self._limit)
        if self._waiting or self._used + wanted > self._limit:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((wanted, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._give_back(wanted)
                else:
                    with suppress(ValueError):  # passed over already
                        self._waiting.remove((wanted, turn))
                    self._let_in()
                raise
        else:
            self._used += wanted
        try:
            yield
        finally:
            self._give_back(wanted)

    def _give_back(self, size_bytes: int) -> None:
        self._used -= size_bytes
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._used + self._waiting[0][0] <= self._limit:
            wanted, turn = self._waiting.popleft()
            if not turn.done():  # else its task was canceled a moment ago
                self._used += wanted
                turn.set_result(None)
