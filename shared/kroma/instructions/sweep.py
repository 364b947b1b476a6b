"""What the bell and lost workers left behind: due instructions, spent ones, overdue agents."""

from typing import Final

from sqlalchemy import ColumnElement, func, not_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.config import AgentOptions
from kroma.db.engine import Database
from kroma.instructions.dispatch import fail
from kroma.instructions.lease import is_due, lease_has_ended, may_try
from kroma.instructions.models import AgentInstruction, InstructionStatus
from kroma.instructions.target import MISSING_URL, has_target
from kroma.queue.messages import DispatchInstruction

BATCH: Final = 200
SWEEP_LOCK: Final = 7_305_110_213
"""One worker sweeps at a time; the others skip theirs."""
NO_RESULT: Final = "no_result_before_deadline"
WORKER_LOST: Final = "worker_lost"


async def sweep(db: Database, options: AgentOptions) -> list[DispatchInstruction]:
    """Fail what nobody will finish, and list what is due, the longest unchanged first.

    An expired lease needs no freeing: the next one takes the instruction as it is.
    """
    async with db.transaction() as session:
        if not await session.scalar(select(func.pg_try_advisory_xact_lock(SWEEP_LOCK))):
            return []
        await _fail_all(session, lease_has_ended(), not_(may_try(options)), error=WORKER_LOST)
        await _fail_all(session, *_overdue(), error=NO_RESULT)
        await _say_what_is_missing(session, options)
        due = await session.scalars(
            select(AgentInstruction.id)
            .where(is_due(options), has_target(options))
            .order_by(AgentInstruction.updated_at, AgentInstruction.id)
            .limit(BATCH)
        )
        return [DispatchInstruction(instruction_id=instruction_id) for instruction_id in due]


def _overdue() -> tuple[ColumnElement[bool], ...]:
    """An agent took the instruction on and has said no more."""
    return (
        AgentInstruction.status == InstructionStatus.RUNNING,
        AgentInstruction.lease_expires_at.is_(None),
        AgentInstruction.deadline_at < func.clock_timestamp(),
    )


async def _fail_all(session: AsyncSession, *conditions: ColumnElement[bool], error: str) -> None:
    rows = await session.scalars(
        select(AgentInstruction).where(*conditions).limit(BATCH).with_for_update(skip_locked=True)
    )
    for row in rows:
        fail(session, row, error)


async def _say_what_is_missing(session: AsyncSession, options: AgentOptions) -> None:
    await session.execute(
        update(AgentInstruction)
        .where(
            AgentInstruction.status == InstructionStatus.CONFIRMED,
            AgentInstruction.last_error.is_distinct_from(MISSING_URL),
            not_(has_target(options)),
        )
        .values(last_error=MISSING_URL, updated_at=AgentInstruction.updated_at)
        .execution_options(synchronize_session=False)
    )
