"""Reading agent instructions."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.keyset import EVERYTHING, Listing, Page, Window, ascending
from kroma.db.reader import Reader
from kroma.instructions.errors import InstructionNotFoundError
from kroma.instructions.models import AgentInstruction, AgentInstructionEvent
from kroma.projects.contents import get_in_project, last_changed_first

_LISTED = last_changed_first(AgentInstruction)
_EVENTS = Listing(
    AgentInstructionEvent, ascending(AgentInstructionEvent.seq), of=AgentInstructionEvent.instruction_id
)


async def list_instructions(
    reader: Reader, project_id: UUID, *, window: Window = EVERYTHING
) -> Page[AgentInstruction]:
    """The instructions of a project, last changed first."""
    return await _LISTED.page(reader, window, of=project_id)


async def get_instruction(
    source: AsyncSession | Reader, *, slug: str, instruction_id: str, lock: bool = False
) -> AgentInstruction:
    """A project's instruction.

    Raises:
        InstructionNotFoundError: The project or the instruction is unknown.
    """
    return await get_in_project(
        source,
        AgentInstruction,
        slug=slug,
        identifier=instruction_id,
        missing=InstructionNotFoundError(),
        lock=lock,
    )


async def list_events(
    reader: Reader, instruction_id: UUID, *, window: Window = EVERYTHING
) -> Page[AgentInstructionEvent]:
    """What happened to an instruction, in the order in which it did."""
    return await _EVENTS.page(reader, window, of=instruction_id)
