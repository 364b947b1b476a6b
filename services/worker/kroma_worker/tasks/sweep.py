"""The sweep: finds work in the tables that no message announced, and carries it or notifies workers."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from math import inf
from time import monotonic
from typing import Final

import structlog

from kroma.db.connection_errors import DATABASE_TROUBLE
from kroma.idempotency.service import forget_expired
from kroma.instructions.sweep import fail_spent_instructions, list_due_instructions
from kroma.leases.sweep import Ending, end_spent
from kroma.pipeline.execution.sweep import fail_spent, list_due
from kroma.queue.base import TaskQueue
from kroma.queue.errors import QueueUnavailableError
from kroma.queue.messages import AnyMessage
from kroma.sync.sweep import fail_spent_syncs, list_due_syncs
from kroma_worker.registry import TaskDeps, dispatch

log = structlog.get_logger(__name__)

LOOK_EVERY: Final = timedelta(seconds=1)
"""How often a worker with free slots looks into the tables, whatever the queue delivers: due work waits
no longer than two of these."""
SWEEP_EVERY: Final = timedelta(seconds=5)
"""For work that this worker cannot carry: it is ended, or workers are notified of it."""
AGAIN: Final = timedelta(minutes=1)
"""A message is taken for lost when its row has been due for so long."""


async def sweep_for_ever(deps: TaskDeps) -> None:
    """Look and sweep until canceled; no failure of a server ends it."""
    carried: set[asyncio.Task[None]] = set()
    notified = RecentNotifications()
    swept_at = -inf
    try:
        while True:
            left: Sequence[AnyMessage] = ()
            is_sweep = monotonic() - swept_at >= SWEEP_EVERY.total_seconds()
            try:
                if is_sweep:
                    await end_spent(deps.context.db, *_endings(deps))
                    swept_at = monotonic()
                if is_sweep or deps.slots.free:
                    left = _carry(deps, await _due(deps), carried)
                if is_sweep:
                    await notified.notify(deps.queue, left)
                deps.liveness.beat()
            except DATABASE_TROUBLE as exc:
                log.warning("sweep.database_unavailable", error=type(exc).__name__)
            if left:
                await deps.slots.one_ends(timeout_s=LOOK_EVERY.total_seconds())
            else:
                await asyncio.sleep(LOOK_EVERY.total_seconds())
    finally:
        for task in carried:
            task.cancel()
        await asyncio.gather(*carried, return_exceptions=True)


def _endings(deps: TaskDeps) -> list[Ending]:
    endings: list[Ending] = [fail_spent, fail_spent_syncs, forget_expired]
    if deps.agents is not None:
        endings.append(partial(fail_spent_instructions, options=deps.agents.options))
    return endings


async def _due(deps: TaskDeps) -> list[AnyMessage]:
    due = await list_due(deps.context.db)
    if deps.agents is not None:
        due += await list_due_instructions(deps.context.db, deps.agents.options)
    if deps.syncs is not None:
        due += await list_due_syncs(deps.context.db)
    return [message for message in due if not deps.slots.holds(message)]


class RecentNotifications:
    """What this worker sent notifications for, and when, so that no sweep repeats them in a long queue.

    Not asked of the queue: it counts the messages of a killed worker too, long after it.
    """

    def __init__(self) -> None:
        self._at: dict[AnyMessage, float] = {}

    async def notify(self, queue: TaskQueue, due: Sequence[AnyMessage]) -> bool:
        """Notify workers of what was not due at the last sweep, and again of what has been due for long.

        Returns:
            Whether the queue works.
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


def _carry(
    deps: TaskDeps, due: Sequence[AnyMessage], carried: set[asyncio.Task[None]]
) -> Sequence[AnyMessage]:
    """Carry what there are places for; gives the rest."""
    free = deps.slots.free
    for message in due[:free]:
        task = asyncio.ensure_future(dispatch(deps, message))
        carried.add(task)
        task.add_done_callback(carried.discard)
    return due[free:]
