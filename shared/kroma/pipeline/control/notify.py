"""Notifies workers of committed rows."""

from collections.abc import Sequence

import structlog

from kroma.queue.base import TaskQueue
from kroma.queue.errors import QueueUnavailableError
from kroma.queue.messages import AnyMessage

log = structlog.get_logger(__name__)


async def notify(queue: TaskQueue, messages: Sequence[AnyMessage]) -> None:
    """Enqueue messages; if the queue is unavailable, the sweep finds their rows."""
    try:
        await queue.enqueue_many(messages)
    except QueueUnavailableError:
        log.warning("queue.unavailable", messages=len(messages))
