"""Writing runs."""

from typing import Any, Final, cast

from sqlalchemy import Table, insert
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.base import Base
from kroma.runs.models import Run, RunJob

_RUNS: Final = cast("Table", Run.__table__)
_JOBS: Final = cast("Table", RunJob.__table__)


async def insert_run(session: AsyncSession, run: Run) -> None:
    """Insert a run that is not in any session, and its jobs, in one statement each.

    Not through the unit of work: nothing here needs its ordering or its refresh of defaults, which
    cost more than the statements. What ``run`` does not set, the database does.
    """
    await session.execute(insert(_RUNS), _set_columns(run))
    await session.execute(insert(_JOBS), [_set_columns(job) for job in run.jobs])


def _set_columns(row: Base) -> dict[str, Any]:
    values = vars(row)
    return {column.key: values[column.key] for column in row.__table__.columns if column.key in values}
