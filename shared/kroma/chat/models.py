"""Chat sessions of a project and their messages."""

from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base, Created, Identified, Timestamped


class ChatRole(StrEnum):
    """Who speaks."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    TOOL = "tool"


class ChatSession(Identified, Timestamped, Base):
    """One conversation."""

    __tablename__ = "chat_sessions"
    __table_args__ = (
        Index("ix_chat_sessions_listed", "project_id", text("updated_at DESC"), text("id DESC")),
    )

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    title: Mapped[str]
    status: Mapped[str] = mapped_column(default="active", server_default="active")


class ChatMessage(Identified, Created, Base):
    """One utterance; ``seq`` keeps the order in which they came."""

    __tablename__ = "chat_messages"
    __table_args__ = (
        CheckConstraint("role IN ('user', 'assistant', 'system', 'tool')", name="role"),
        Index("ix_chat_messages_listed", "session_id", "seq"),
    )

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("chat_sessions.id", ondelete="CASCADE"))
    role: Mapped[str]
    content: Mapped[str]
    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
