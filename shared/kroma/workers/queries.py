"""Reading workers."""

from datetime import timedelta
from typing import Final

import msgspec
from sqlalchemy import Float, cast, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.workers.models import WorkerRow

LIVES_FOR: Final = timedelta(seconds=30)
"""A worker shows itself every 10 s; one that was not seen for so long is lost."""

_IS_SEEN: Final = WorkerRow.seen_at > func.clock_timestamp() - LIVES_FOR
_SINCE_SEEN: Final = func.extract("epoch", func.clock_timestamp() - func.max(WorkerRow.seen_at))
_LIVING: Final = Prepared(select(func.count(), cast(func.coalesce(_SINCE_SEEN, 0), Float)).where(_IS_SEEN))


class Living(msgspec.Struct, frozen=True):
    """The workers that were seen lately."""

    count: int
    seen_s: float
    """Since one of them was last seen."""


async def list_living(session: AsyncSession) -> list[WorkerRow]:
    """The workers that were seen lately, the oldest first."""
    rows = await session.scalars(
        select(WorkerRow).where(_IS_SEEN).order_by(WorkerRow.started_at, WorkerRow.name)
    )
    return list(rows)


async def count_living(db: Database) -> Living:
    """How many workers live."""
    ((count, seen_s),) = await db.fetch(_LIVING, {})
    return Living(count, seen_s)
