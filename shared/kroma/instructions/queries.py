"""Reading agent instructions."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.instructions.errors import InstructionNotFoundError
from kroma.instructions.models import AgentInstruction, AgentInstructionEvent
from kroma.projects.contents import get_in_project, list_last_changed


async def list_instructions(session: AsyncSession, project_id: UUID) -> Sequence[AgentInstruction]:
    """The instructions of a project, last changed first."""
    return await list_last_changed(session, AgentInstruction, project_id)


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
    session: AsyncSession, instruction: AgentInstruction
) -> Sequence[AgentInstructionEvent]:
    """What happened to an instruction, in the order in which it did."""
    statement = (
        select(AgentInstructionEvent)
        .where(AgentInstructionEvent.instruction_id == instruction.id)
        .order_by(AgentInstructionEvent.seq)
    )
    return (await session.scalars(statement)).all()
