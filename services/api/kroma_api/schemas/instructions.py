"""Bodies of ``/api/projects/{slug}/agent/instructions`` and of agents' callbacks."""

from typing import Any, Self

import msgspec
from msgspec import UNSET

from kroma.instructions.models import AgentInstruction
from kroma_api.schemas.reply import AuditId, Id, ListReply, Reply, RequiredText, RowView, Stamp, shown_stamp


class CreateInstructionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/agent/instructions``."""

    instruction_text: RequiredText = UNSET
    """The wish, in words."""


class ConfirmInstructionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/agent/instructions/{instruction_id}/confirm``."""

    message: str | None = None
    """The text of the event; a fixed phrase when absent or blank."""


class CancelInstructionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/agent/instructions/{instruction_id}/cancel``."""

    message: str | None = None
    """The text of the event; a fixed phrase when absent or blank."""


class AgentCallbackRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /agent/callback/{instruction_id}``."""

    status: RequiredText = UNSET
    """``accepted``, ``running``, ``done``, ``failed`` or ``rejected``, in any case."""
    instruction_id: str | None = None
    """The same as in the path, when given."""
    message: str | None = None
    """What the agent says of it; goes to the instruction's events."""
    result: Any = None
    """What came of it; any JSON."""
    error: str | None = None
    """Why it failed; becomes ``last_error``."""


class InstructionView(RowView, frozen=True, kw_only=True):
    """A wish for the external agent."""

    id: Id
    project_id: Id
    instruction_text: str
    status: str
    """``pending``, ``confirmed``, ``running``, ``done``, ``failed`` or ``canceled``."""
    created_at: Stamp
    updated_at: Stamp
    confirmed_at: Stamp
    canceled_at: Stamp
    attempts: int
    """How often a worker has begun to send it since it was confirmed."""
    max_attempts: int
    """After so many it is ``failed``."""
    last_error: str
    """Why the last attempt brought nothing, or why there is none; else empty."""
    next_attempt_at: Stamp
    """When a worker tries again; empty when it does not wait."""

    @classmethod
    def of(cls, instruction: AgentInstruction) -> Self:
        return cls.from_row(
            instruction, attempts=instruction.attempt, next_attempt_at=shown_stamp(instruction.available_at)
        )


class InstructionEventView(RowView, frozen=True, kw_only=True):
    """One thing that happened to an instruction."""

    id: Id
    project_id: Id
    instruction_id: Id
    event_type: str
    """What happened, like ``confirmed``."""
    message: str
    created_at: Stamp


class ListInstructionsResponse(ListReply, frozen=True, kw_only=True):
    """Instructions, last changed first."""

    instructions: list[InstructionView]


class InstructionResponse(Reply, frozen=True, kw_only=True):
    """One instruction."""

    instruction: InstructionView


class ChangedInstructionResponse(Reply, frozen=True, kw_only=True):
    """An instruction after a change."""

    instruction: InstructionView
    audit_id: AuditId


class ListInstructionEventsResponse(ListReply, frozen=True, kw_only=True):
    """What happened to an instruction, oldest first."""

    instruction_id: str
    """The id given in the path."""
    events: list[InstructionEventView]


class AgentCallbackResponse(Reply, frozen=True, kw_only=True):
    """A callback was heard."""

    instruction_id: Id
    status: str
    """The current status of the instruction."""
    applied: bool
    """False when the report changed nothing: repeated, or too late."""
