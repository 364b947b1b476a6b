"""The queue protocol: a bell, not a store. The row is the truth; losing a message loses nothing."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Protocol, runtime_checkable

from kroma.queue.messages import AnyMessage

Handler = Callable[[AnyMessage], Awaitable[None]]
"""Carries one message; it deals with its own errors, since no queue retries for it."""


@runtime_checkable
class TaskQueue(Protocol):
    """Delivers at least once, in no promised order."""

    async def enqueue_many(self, messages: Sequence[AnyMessage], *, delay: timedelta = timedelta()) -> None:
        """Ring for each message, after ``delay``.

        Raises:
            QueueUnavailableError: The bell is down; the caller's rows are safe and the sweep rings again.
        """
        ...

    async def depth(self) -> int:
        """Messages not yet handed to a handler."""
        ...

    async def consume(self, handler: Handler, *, concurrency: int) -> None:
        """Hand messages to ``handler``, at most ``concurrency`` at a time, until cancelled.

        On cancellation no further message is taken and the ones in hand are cancelled and awaited.
        """
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...
