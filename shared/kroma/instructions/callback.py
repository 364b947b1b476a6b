"""What an agent reports after its reply."""

from typing import NamedTuple
from uuid import UUID

from msgspec import UnsetType
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.db.ids import row_id
from kroma.instructions import events
from kroma.instructions.errors import CallbackMismatchError, InstructionNotFoundError
from kroma.instructions.models import AgentInstruction, InstructionStatus
from kroma.instructions.report import AgentReport
from kroma.instructions.signature import CallbackSigner, Pass


class Heard(NamedTuple):
    """An instruction after a callback."""

    instruction: AgentInstruction
    is_applied: bool
    """False when the report came too late to matter: repeated, called off, sent anew or ended."""


async def admit(db: Database, signer: CallbackSigner, *, instruction_id: str, signature: str | None) -> Pass:
    """Let a callback in.

    Raises:
        InstructionNotFoundError: No instruction has this id.
        CallbackSignatureError: The signature is not ours for it, or past its deadline.
    """
    key = row_id(instruction_id)
    async with db.transaction() as session:
        if key is None or await session.get(AgentInstruction, key) is None:
            raise InstructionNotFoundError
    return signer.opened(key, signature, now=utc_now())


def checked_report(
    admission: Pass,
    *,
    instruction_id: str | None,
    status: str | UnsetType,
    message: str | None,
    result: object,
    error: str | None,
) -> AgentReport:
    """The report that a callback's body makes.

    Raises:
        CallbackMismatchError: It names another instruction.
        FieldRequiredError: ``status`` is missing or blank.
        NotOneOfError: ``status`` is no word for a callback.
    """
    if instruction_id is not None and instruction_id.strip() != str(admission.instruction_id):
        raise CallbackMismatchError
    return AgentReport.of_callback(status=status, message=message, result=result, error=error)


async def hear(db: Database, admission: Pass, report: AgentReport) -> Heard:
    """Move an instruction as its agent reports, and write that down; a report heard before changes nothing.

    An attempt that looked lost and waits for the next one counts as well: its agent is alive.
    """
    async with db.transaction() as session:
        row = await _lock(session, admission.instruction_id)
        is_current = row.fence == admission.fence and row.status in {
            InstructionStatus.RUNNING,
            InstructionStatus.CONFIRMED,
        }
        if not is_current:
            return Heard(row, is_applied=False)
        event_type = events.STATUS_CHANGE if report.status is InstructionStatus.RUNNING else events.RESULT
        text = events.result_text(report.word, attempts=row.attempt, http_status=None)
        if said := report.error or report.message:
            text = f"{text}, message={said}"
        last = await events.find_last_event(session, row)
        is_repeated = last is not None and (last.event_type, last.message) == (event_type, text)
        report.move(row)
        if not is_repeated:
            events.add_event(session, row, event_type, text)
    return Heard(row, is_applied=not is_repeated)


async def _lock(session: AsyncSession, instruction_id: UUID) -> AgentInstruction:
    row = await session.scalar(
        select(AgentInstruction).where(AgentInstruction.id == instruction_id).with_for_update()
    )
    if row is None:
        raise InstructionNotFoundError
    return row
