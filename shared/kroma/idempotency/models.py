"""Answers to requests that carried an ``Idempotency-Key``."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base, Created, Identified


class IdempotencyKey(Identified, Created, Base):
    """One key of one caller on one path, and what the request was answered."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        UniqueConstraint("scope", "path", "key"),
        CheckConstraint("state IN ('in_flight', 'applied', 'answered')", name="state"),
        Index("ix_idempotency_keys_expires_at", "expires_at"),
        Index(
            "ix_idempotency_keys_files",
            "scope",
            "expires_at",
            postgresql_where=text("body_file IS NOT NULL"),
        ),
    )

    scope: Mapped[str]
    """The token's id, or a word for callers without one."""
    path: Mapped[str]
    key: Mapped[str]
    request_hash: Mapped[str]
    """SHA-256 of method, query and body."""
    state: Mapped[str]
    """``applied``: its change is committed, its answer is not stored yet."""
    lease_expires_at: Mapped[datetime]
    """A request in flight whose process was killed may be tried again from here."""
    expires_at: Mapped[datetime]
    status_code: Mapped[int | None]
    headers_json: Mapped[Any | None]
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    body_file: Mapped[str | None]
    """Where a body lies that is too large for this table (``kroma.idempotency.answers``)."""
    body_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """The size of one that does not lie in this table; None for a secret."""
