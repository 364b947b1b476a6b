"""The table of the PostgreSQL-only queue; empty while the queue is Redis."""

from datetime import datetime

from sqlalchemy import BigInteger, Identity, Index, LargeBinary, func
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base


class QueueMessage(Base):
    """One message, deleted by the worker that takes it."""

    __tablename__ = "queue_messages"
    __table_args__ = (Index("ix_queue_messages_due", "available_at", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    """A message as msgpack."""
    available_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
