"""Agent instructions of a project, and what happened to them."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base, Created, Identified, Timestamped
from kroma.leases.models import Leased


class InstructionStatus(StrEnum):
    """Where an instruction stands; contract 3.18 has the table of moves."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"


class AgentInstruction(Identified, Timestamped, Leased, Base):
    """A wish for an external agent, sent once a person has confirmed it.

    Its fence rises with every confirmation and cancellation, too, so that an older outcome is dropped.
    """

    __tablename__ = "agent_instructions"
    __table_args__ = (
        CheckConstraint(
            "status IN ('pending', 'confirmed', 'running', 'done', 'failed', 'canceled')", name="status"
        ),
        Index("ix_agent_instructions_listed", "project_id", text("updated_at DESC"), text("id DESC")),
        # What the lease looks for.
        Index(
            "ix_agent_instructions_open",
            "updated_at",
            "id",
            postgresql_where=text("status IN ('confirmed', 'running')"),
        ),
    )

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    instruction_text: Mapped[str]
    status: Mapped[str] = mapped_column(default=InstructionStatus.PENDING, server_default="pending")
    confirmed_at: Mapped[datetime | None]
    canceled_at: Mapped[datetime | None]
    max_attempts: Mapped[int] = mapped_column(default=3, server_default=text("3"))
    deadline_at: Mapped[datetime | None]
    """Until when a remote ``accepted`` or ``running`` is followed up."""
    last_error: Mapped[str | None]
    agent_response_json: Mapped[Any | None]


class AgentInstructionEvent(Identified, Created, Base):
    """One thing that happened to an instruction; ``seq`` keeps the order."""

    __tablename__ = "agent_instruction_events"
    __table_args__ = (Index("ix_agent_instruction_events_listed", "instruction_id", "seq"),)

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    instruction_id: Mapped[UUID] = mapped_column(ForeignKey("agent_instructions.id", ondelete="CASCADE"))
    event_type: Mapped[str]
    message: Mapped[str | None]
    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
