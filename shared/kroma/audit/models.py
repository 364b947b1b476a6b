"""The audit trail."""

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base, Created, Identified


class AuditEvent(Identified, Created, Base):
    """One change of state, written in the transaction that made it."""

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("ix_audit_events_listed", "project_id", text("created_at DESC"), text("id DESC")),
        Index("ix_audit_events_code", "project_id", "event_code", text("created_at DESC"), text("id DESC")),
    )

    project_id: Mapped[UUID | None] = mapped_column(ForeignKey("projects.id", ondelete="SET NULL"))
    actor_user_id: Mapped[UUID | None] = mapped_column(ForeignKey("app_users.id", ondelete="SET NULL"))
    event_code: Mapped[str]
    payload_json: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'"))
