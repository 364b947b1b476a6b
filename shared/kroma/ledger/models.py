"""The ledger of provider calls, and the gates they pass."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Numeric, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base, Created, Identified


class CallStatus(StrEnum):
    """Where a call that costs money stands; how it moves: ``kroma.ledger.states``."""

    INTENT = "intent"
    """Committed before anything leaves; its price is held against the budget."""
    SENT = "sent"
    """The request may have reached the provider."""
    SETTLED = "settled"
    """Answered, or found to have been charged; its cost is final."""
    REFUSED = "refused"
    """Certainly not carried out: costs nothing and may be sent again."""
    UNKNOWN = "unknown"
    """Its answer was lost: it may have been charged, so it is never sent again by itself."""


IN_FLIGHT_CALL_STATUSES = (CallStatus.INTENT, CallStatus.SENT)


class ProviderCall(Identified, Created, Base):
    """One call to a provider that costs money; ``id`` is its idempotency key."""

    __tablename__ = "provider_calls"
    __table_args__ = (
        UniqueConstraint("job_id", "candidate_index", "number"),
        CheckConstraint("status IN ('intent', 'sent', 'settled', 'refused', 'unknown')", name="status"),
        CheckConstraint("resolution IN ('charged', 'not_charged')", name="resolution"),
        Index("ix_provider_calls_listed", "project_id", text("created_at DESC"), text("id DESC")),
        Index("ix_provider_calls_status", "project_id", "status", text("created_at DESC"), text("id DESC")),
        Index("ix_provider_calls_run_id", "run_id"),
        # What limits count and the reaper looks through.
        Index(
            "ix_provider_calls_in_flight",
            "provider_code",
            "project_id",
            postgresql_where=text("status IN ('intent', 'sent')"),
        ),
    )

    project_id: Mapped[UUID | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    """None is a tool's call, which belongs to no project."""
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"))
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey("run_jobs.id", ondelete="SET NULL"))
    job_key: Mapped[str]
    candidate_index: Mapped[int]
    """From 1."""
    number: Mapped[int]
    """Which call for this candidate it is, from 1; only a refused one has a next."""
    fence: Mapped[int] = mapped_column(BigInteger)
    """The job's claim that made it."""
    provider_code: Mapped[str]
    model_name: Mapped[str]
    operation: Mapped[str]
    """``image_edit``."""
    status: Mapped[str] = mapped_column(default=CallStatus.INTENT)
    price_usd: Mapped[Decimal | None] = mapped_column(Numeric(18, 6))
    """Estimated before it was sent; None is unknown."""
    cost_usd: Mapped[Decimal | None] = mapped_column(Numeric(18, 6))
    """What it cost, once settled; None is unknown."""
    request_id: Mapped[str | None]
    """The provider's own id of the call."""
    usage_json: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'"))
    """Units as the provider counted them, like ``{"input_tokens": 323}``."""
    error: Mapped[str | None]
    error_code: Mapped[str | None]
    sent_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    """When the provider had answered, or it was refused or found lost."""
    resolution: Mapped[str | None]
    """What a person or the provider said of an unknown call."""
    resolved_at: Mapped[datetime | None]
    resolved_by: Mapped[UUID | None]


class ProviderGate(Identified, Base):
    """What every call to a provider passes: pace, circuit and pause, for all projects or for one."""

    __tablename__ = "provider_gates"
    __table_args__ = (UniqueConstraint("provider_code", "project_id", postgresql_nulls_not_distinct=True),)

    provider_code: Mapped[str]
    project_id: Mapped[UUID | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    """None is the gate of all projects."""
    next_call_at: Mapped[datetime | None]
    """The rate limit's theoretical arrival time (GCRA with a burst of one): a call may leave from here."""
    retry_after: Mapped[datetime | None]
    """Until when the provider asked to be left alone."""
    failures: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    """Calls in a row that met a dead provider."""
    open_until: Mapped[datetime | None]
    """The circuit is open: no call before; then one is tried."""
    paused_at: Mapped[datetime | None]
    paused_code: Mapped[str | None]
    """``provider_key_refused`` and the like; None is not paused."""
    paused_reason: Mapped[str | None]
