"""Reading workers."""

from datetime import timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.workers.models import WorkerRow

LIVES_FOR: Final = timedelta(seconds=30)
"""A worker shows itself every 10 s; one that was not seen for so long is lost."""


async def list_living(session: AsyncSession) -> list[WorkerRow]:
    """The workers that were seen lately, the oldest first."""
    seen = WorkerRow.seen_at > func.clock_timestamp() - LIVES_FOR
    rows = await session.scalars(select(WorkerRow).where(seen).order_by(WorkerRow.started_at, WorkerRow.name))
    return list(rows)
