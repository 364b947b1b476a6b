"""Ringing for work that is due later."""

from datetime import timedelta

import structlog

from kroma.queue.errors import QueueUnavailableError
from kroma.queue.messages import AnyMessage
from kroma_worker.registry import TaskDeps

log = structlog.get_logger(__name__)


async def notify(deps: TaskDeps, message: AnyMessage, *, delay: timedelta) -> None:
    """Notify workers after a delay; while the queue is down, the sweep finds what is due."""
    try:
        await deps.queue.enqueue_many([message], delay=delay)
    except QueueUnavailableError:
        log.warning("queue.unavailable", task=type(message).__name__)
