"""The sweep: rings for what is due, and carries it itself while the bell is down."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from math import inf
from time import monotonic
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError

from kroma.instructions.sweep import sweep as sweep_instructions
from kroma.pipeline.sweep import sweep as sweep_runs
from kroma.queue.base import TaskQueue
from kroma.queue.errors import QueueUnavailableError
from kroma.queue.messages import AnyMessage
from kroma_worker.registry import TaskDeps, dispatch

log = structlog.get_logger(__name__)

EVERY: Final = timedelta(seconds=5)
AGAIN: Final = timedelta(minutes=1)
"""A message is taken for lost when its row has been due for so long."""
WITHOUT_BELL_EVERY: Final = timedelta(seconds=1)
"""While nothing rings, the table is all there is: a job waits no longer than two of these."""


async def sweep_for_ever(deps: TaskDeps, *, places: int) -> None:
    """Sweep until cancelled; no failure of a server ends it.

    Args:
        deps: The worker's.
        places: Jobs to carry at a time while the bell is down.
    """
    carried: set[asyncio.Task[None]] = set()
    rung = Rung()
    try:
        while True:
            bell_rings = True
            try:
                due = await _due(deps)
                bell_rings = await rung.ring(deps.queue, due)
                if not bell_rings:
                    _carry(deps, due[: max(0, places - len(carried))], carried)
            except (DBAPIError, OSError) as exc:
                log.warning("sweep.database_unavailable", error=type(exc).__name__)
            await asyncio.sleep((EVERY if bell_rings else WITHOUT_BELL_EVERY).total_seconds())
    finally:
        for task in carried:
            task.cancel()
        await asyncio.gather(*carried, return_exceptions=True)


async def _due(deps: TaskDeps) -> list[AnyMessage]:
    runs = await sweep_runs(deps.place.db)
    if deps.agents is None:
        return runs.messages
    return [*runs.messages, *await sweep_instructions(deps.place.db, deps.agents.options)]


class Rung:
    """What this worker has rung for and when, so that a long queue is not made longer every sweep.

    Not asked of the queue: it counts the messages of a killed worker too, long after it.
    """

    def __init__(self) -> None:
        self._at: dict[AnyMessage, float] = {}

    async def ring(self, queue: TaskQueue, due: Sequence[AnyMessage]) -> bool:
        """Ring for what was not due at the last sweep, and again for what has been for long.

        Returns:
            Whether the bell works.
        """
        now = monotonic()
        # What was taken in between is forgotten: if it is due again, its worker was lost.
        known = {message: self._at[message] for message in due if message in self._at}
        missed = [message for message in due if now - known.get(message, -inf) >= AGAIN.total_seconds()]
        try:
            await queue.enqueue_many(missed)
        except QueueUnavailableError:
            return False
        self._at = known | dict.fromkeys(missed, now)
        return True


def _carry(deps: TaskDeps, messages: Sequence[AnyMessage], carried: set[asyncio.Task[None]]) -> None:
    for message in messages:
        task = asyncio.ensure_future(dispatch(deps, message))
        carried.add(task)
        task.add_done_callback(carried.discard)
