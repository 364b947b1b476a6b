"""Reading agent instructions."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.keyset import EVERYTHING, ListOrder, Page, Window, ascending
from kroma.instructions.errors import InstructionNotFoundError
from kroma.instructions.models import AgentInstruction, AgentInstructionEvent
from kroma.projects.contents import get_in_project, list_last_changed

_EVENTS = ListOrder("AgentInstructionEvent", ascending(AgentInstructionEvent.seq))


async def list_instructions(
    session: AsyncSession, project_id: UUID, *, window: Window = EVERYTHING
) -> Page[AgentInstruction]:
    """The instructions of a project, last changed first."""
    return await list_last_changed(session, AgentInstruction, project_id, window=window)


async def get_instruction(
    session: AsyncSession, *, slug: str, instruction_id: str, lock: bool = False
) -> AgentInstruction:
    """A project's instruction.

    Raises:
        InstructionNotFoundError: The project or the instruction is unknown.
    """
    return await get_in_project(
        session,
        AgentInstruction,
        slug=slug,
        identifier=instruction_id,
        missing=InstructionNotFoundError(),
        lock=lock,
    )


async def list_events(
    session: AsyncSession, instruction: AgentInstruction, *, window: Window = EVERYTHING
) -> Page[AgentInstructionEvent]:
    """What happened to an instruction, in the order in which it did."""
    statement = select(AgentInstructionEvent).where(AgentInstructionEvent.instruction_id == instruction.id)
    return await _EVENTS.page(session, statement, window, scope=instruction.id)
