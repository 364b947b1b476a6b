"""The sweep over all leased work: what nobody may carry on is ended, what is due is listed.

An expired lease needs no freeing: the next claim takes the row as it is.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.engine import Database

BATCH: Final = 200
"""Rows of one kind that one sweep ends, or lists, at most."""
SWEEP_LOCK: Final = 7_305_110_212
"""One worker ends work at a time; the others skip it."""
WORKER_LOST: Final = "worker_lost"
"""The error code of work whose attempts were used up by workers that died."""

Ending = Callable[[AsyncSession], Awaitable[Any]]
"""Ends what nobody may carry on of one kind of work, at most ``BATCH`` rows."""


async def end_spent(db: Database, *endings: Ending) -> None:
    """Let each kind of work end, in a transaction of its own, what nobody may carry on."""
    for end in endings:
        async with db.transaction() as session:
            if await session.scalar(select(func.pg_try_advisory_xact_lock(SWEEP_LOCK))):
                await end(session)
