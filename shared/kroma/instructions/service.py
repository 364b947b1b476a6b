"""Making, confirming and canceling instructions: the moves that people make (contract 3.18)."""

from typing import Final, NamedTuple
from uuid import UUID

import structlog
from msgspec import UnsetType
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.audit import service as audit
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.instructions import events
from kroma.instructions.errors import AlreadyCanceledError, AlreadyConfirmedError
from kroma.instructions.models import AgentInstruction, InstructionStatus
from kroma.instructions.queries import get_instruction
from kroma.projects.queries import get_project
from kroma.queue.base import TaskQueue
from kroma.queue.errors import QueueUnavailableError
from kroma.queue.messages import DispatchInstruction
from kroma.texts import optional_text, required_text

log = structlog.get_logger(__name__)

CREATED_TEXT: Final = "Instruction created"
CONFIRMED_TEXT: Final = "Instruction confirmed"
CANCELED_TEXT: Final = "Instruction canceled"


class ChangedInstruction(NamedTuple):
    """An instruction after a request, and the trail's record of it."""

    instruction: AgentInstruction
    audit_id: UUID


async def create_instruction(
    db: Database, *, slug: str, instruction_text: str | UnsetType, actor: UUID | None
) -> ChangedInstruction:
    """Write an instruction down; nobody sends it before it is confirmed.

    Raises:
        FieldRequiredError: ``instruction_text`` is missing or blank.
        ProjectNotFoundError: No project has this slug.
    """
    wish = required_text("instruction_text", instruction_text)
    async with db.transaction() as session:
        project = await get_project(session, slug)
        row = AgentInstruction(project_id=project.id, instruction_text=wish)
        session.add(row)
        await session.flush()
        events.add_event(session, row, events.CREATED, CREATED_TEXT)
        return await _audit(session, row, code="agent_instruction.create", actor=actor)


async def confirm_instruction(
    db: Database, queue: TaskQueue, *, slug: str, instruction_id: str, message: str | None, actor: UUID | None
) -> ChangedInstruction:
    """Release an instruction to the worker, from any state but ``canceled``, and notify the workers.

    One that is confirmed already stays as it is; one that has run starts anew, with no attempt counted.

    Raises:
        InstructionNotFoundError: The project or the instruction is unknown.
        AlreadyCanceledError: It is canceled.
    """
    async with db.transaction() as session:
        row = await get_instruction(session, slug=slug, instruction_id=instruction_id, lock=True)
        if row.status == InstructionStatus.CANCELED:
            raise AlreadyCanceledError
        moves = row.status != InstructionStatus.CONFIRMED
        if moves:
            _begin_anew(row, InstructionStatus.CONFIRMED)
            row.attempt, row.last_error = 0, None
            row.confirmed_at, row.canceled_at = utc_now(), None
            events.add_event(session, row, events.CONFIRMED, optional_text(message) or CONFIRMED_TEXT)
        changed = await _audit(session, row, code="agent_instruction.confirm", actor=actor)
    if moves:
        await _notify_workers(queue, row.id)
    return changed


async def cancel_instruction(
    db: Database, *, slug: str, instruction_id: str, message: str | None, actor: UUID | None
) -> ChangedInstruction:
    """Call an instruction off, from any state but ``confirmed``; what a running one brings is dropped.

    Raises:
        InstructionNotFoundError: The project or the instruction is unknown.
        AlreadyConfirmedError: It is confirmed.
    """
    async with db.transaction() as session:
        row = await get_instruction(session, slug=slug, instruction_id=instruction_id, lock=True)
        if row.status == InstructionStatus.CONFIRMED:
            raise AlreadyConfirmedError
        if row.status != InstructionStatus.CANCELED:
            _begin_anew(row, InstructionStatus.CANCELED)
            row.canceled_at = utc_now()
            events.add_event(session, row, events.CANCELED, optional_text(message) or CANCELED_TEXT)
        return await _audit(session, row, code="agent_instruction.cancel", actor=actor)


def _begin_anew(row: AgentInstruction, status: InstructionStatus) -> None:
    row.status = status
    row.fence += 1  # what is under way writes nothing any more
    row.release()
    row.available_at = row.deadline_at = None


async def _audit(
    session: AsyncSession, row: AgentInstruction, *, code: str, actor: UUID | None
) -> ChangedInstruction:
    event = await audit.record(
        session,
        code=code,
        project_id=row.project_id,
        actor=actor,
        payload={"instruction_id": str(row.id), "status": row.status},
    )
    return ChangedInstruction(row, event.id)


async def _notify_workers(queue: TaskQueue, instruction_id: UUID) -> None:
    try:
        await queue.enqueue_many([DispatchInstruction(instruction_id=instruction_id)])
    except QueueUnavailableError:
        # The row is committed, so the sweep will find it.
        log.warning("confirm.bell_down", instruction_id=str(instruction_id))
