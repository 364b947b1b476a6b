"""The queue protocol. A message only wakes workers: the row is the truth, so a lost message loses nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Protocol, runtime_checkable

from kroma.queue.messages import AnyMessage

Handler = Callable[[AnyMessage], Awaitable[None]]
"""Carries one message; it deals with its own errors, since no queue retries for it."""

Take = Callable[[int], Awaitable[Sequence[AnyMessage]]]
"""Waits for messages and returns at most so many."""


@runtime_checkable
class TaskQueue(Protocol):
    """Delivers to one consumer, once unless something breaks, in no promised order."""

    async def enqueue_many(self, messages: Sequence[AnyMessage], *, delay: timedelta = timedelta()) -> None:
        """Send messages to the workers, after ``delay``.

        Raises:
            QueueUnavailableError: The queue is down; the caller's rows are safe, and the sweep finds them.
        """
        ...

    async def depth(self) -> int:
        """Messages not yet handed to a handler, delayed ones too.

        Raises:
            QueueUnavailableError: The queue is down.
        """
        ...

    async def consume(self, handler: Handler, *, concurrency: int) -> None:
        """Hand messages to ``handler``, at most ``concurrency`` at a time, until canceled.

        Waits while the queue is down. On cancellation no further message is taken,
        and the handlers under way are canceled and awaited.
        """
        ...

    async def close(self) -> None: ...


async def serve(take: Take, handler: Handler, *, concurrency: int) -> None:
    """The consuming half of a queue that has no worker loop of its own."""
    slots = asyncio.Semaphore(concurrency)
    running: set[asyncio.Task[None]] = set()

    async def carry(message: AnyMessage) -> None:
        try:
            await handler(message)
        finally:
            slots.release()

    try:
        while True:
            await slots.acquire()
            free = 1
            try:
                messages = await take(free)
            except BaseException:
                slots.release()
                raise
            if not messages:
                slots.release()
            for message in messages:
                task = asyncio.ensure_future(carry(message))
                running.add(task)
                task.add_done_callback(running.discard)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
