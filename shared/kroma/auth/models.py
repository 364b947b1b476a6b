"""API tokens; only their hash is stored."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base, Created, Identified


class ApiToken(Identified, Created, Base):
    """A bearer token. Active = not revoked and not expired."""

    __tablename__ = "api_tokens"
    __table_args__ = (
        CheckConstraint(
            "scopes <@ ARRAY['read', 'review', 'create', 'spend', 'storage', 'secrets', 'admin']"
            " AND cardinality(scopes) > 0",
            name="scopes",
        ),
        Index("ix_api_tokens_listed", text("created_at DESC"), text("id DESC")),
        Index("ix_api_tokens_user", "user_id", "created_at"),
        Index("ix_api_tokens_project", "project_id", "created_at"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_users.id", ondelete="CASCADE"))
    project_id: Mapped[UUID | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    """The only project this token may touch; None for every project of its user."""
    scopes: Mapped[list[str] | None] = mapped_column(ARRAY(Text()))
    """What it may do there, sorted; None for everything."""
    token_hash: Mapped[str] = mapped_column(unique=True)
    """SHA-256 of the secret, lower-case hex."""
    token_prefix: Mapped[str]
    """The secret's first 12 characters, so that a person can tell tokens apart."""
    label: Mapped[str] = mapped_column(default="", server_default="")
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]

    def is_active(self, *, now: datetime) -> bool:
        """Whether the token would be accepted."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)
