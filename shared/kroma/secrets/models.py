"""Secrets of a project, encrypted."""

from uuid import UUID

from sqlalchemy import ForeignKey, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base, Timestamped


class ProjectSecret(Timestamped, Base):
    """One secret; no route returns its value."""

    __tablename__ = "project_secrets"

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    # Listed by characters: a language would look past dashes and underscores.
    provider_code: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    secret_name: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    secret_value: Mapped[str] = mapped_column(default="", server_default=text("''"))
    """Ciphertext with its version prefix; empty is a name without a value."""
    key_ref: Mapped[str] = mapped_column(default="local-master", server_default="local-master")
    """Names the key that sealed it."""
