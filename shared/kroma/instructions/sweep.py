"""Finds what a lost message or worker left behind: due instructions, spent ones, overdue agents."""

from typing import Final

from sqlalchemy import ColumnElement, func, not_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.config import AgentOptions
from kroma.db.engine import Database
from kroma.instructions.dispatch import fail
from kroma.instructions.lease import is_due, lease_has_ended, may_try
from kroma.instructions.models import AgentInstruction, InstructionStatus
from kroma.instructions.target import MISSING_URL, has_target
from kroma.leases.sweep import BATCH, WORKER_LOST
from kroma.queue.messages import DispatchInstruction

NO_RESULT: Final = "no_result_before_deadline"


async def list_due_instructions(db: Database, options: AgentOptions) -> list[DispatchInstruction]:
    """Every instruction that a worker could send now, the longest unchanged first."""
    due = (
        select(AgentInstruction.id)
        .where(is_due(options), has_target(options))
        .order_by(AgentInstruction.updated_at, AgentInstruction.id)
        .limit(BATCH)
    )
    async with db.transaction() as session:
        return [DispatchInstruction(instruction_id=row_id) for row_id in await session.scalars(due)]


async def fail_spent_instructions(session: AsyncSession, options: AgentOptions) -> None:
    """Fail what nobody will finish, and say which instructions have no address to be sent to."""
    await _fail_all(session, lease_has_ended(), not_(may_try(options)), error=WORKER_LOST)
    await _fail_all(session, *_overdue(), error=NO_RESULT)
    await _say_what_is_missing(session, options)


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
