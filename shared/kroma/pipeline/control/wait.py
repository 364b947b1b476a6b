"""Waits for the end of a run, for ``Prefer: wait``."""

import asyncio
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select

from kroma.db.engine import Database
from kroma.runs.models import OPEN_RUN_STATUSES, Run

FIRST_PAUSE: Final = timedelta(milliseconds=20)
LONGEST_PAUSE: Final = timedelta(milliseconds=250)


async def wait_for_end(db: Database, run_id: UUID, *, timeout: timedelta) -> bool:  # noqa: ASYNC109 - requested by the client
    """Poll the run, at increasing intervals, until it has ended or the time is up.

    Returns:
        Whether it has ended; also true if it was deleted.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout.total_seconds()
    pause = FIRST_PAUSE.total_seconds()
    while await _is_open(db, run_id):
        left = deadline - clock()
        if left <= 0:
            return False
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE.total_seconds())
    return True


async def _is_open(db: Database, run_id: UUID) -> bool:
    async with db.transaction() as session:
        status = await session.scalar(select(Run.status).where(Run.id == run_id))
    return status in OPEN_RUN_STATUSES
