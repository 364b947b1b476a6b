"""What is written down about an instruction, in the words of contract 3.18."""

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.instructions.models import AgentInstruction, AgentInstructionEvent

CREATED: Final = "created"
CONFIRMED: Final = "confirmed"
CANCELED: Final = "canceled"
RESULT: Final = "result"
STATUS_CHANGE: Final = "status_change"
RETRY_SCHEDULED: Final = "retry_scheduled"
ERROR: Final = "error"


def add_event(session: AsyncSession, row: AgentInstruction, event_type: str, message: str) -> None:
    """Write an event with the caller's change."""
    session.add(
        AgentInstructionEvent(
            project_id=row.project_id, instruction_id=row.id, event_type=event_type, message=message
        )
    )


async def find_last_event(session: AsyncSession, row: AgentInstruction) -> AgentInstructionEvent | None:
    """The newest event."""
    return await session.scalar(
        select(AgentInstructionEvent)
        .where(AgentInstructionEvent.instruction_id == row.id)
        .order_by(AgentInstructionEvent.seq.desc())
        .limit(1)
    )


def result_text(word: str, *, attempts: int, http_status: int | None) -> str:
    """What an agent said."""
    code = "none" if http_status is None else http_status
    return f"remote_status={word}, attempts={attempts}, http_status={code}"


def failure_text(
    error: str, *, attempts: int, max_attempts: int, next_attempt_at: datetime | None = None
) -> str:
    """Why nothing came of an attempt."""
    stamp = "none" if next_attempt_at is None else f"{next_attempt_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return f"error={error}, attempts={attempts}, max_attempts={max_attempts}, next_attempt_at={stamp}"
