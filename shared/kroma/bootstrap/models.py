"""What an import changed, so that it can be taken back."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base, Created, Identified


class BootstrapImport(Identified, Created, Base):
    """One import of settings."""

    __tablename__ = "bootstrap_imports"
    __table_args__ = (Index("ix_bootstrap_imports_project", "project_id", text("created_at DESC")),)

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    mode: Mapped[str]
    before_json: Mapped[dict[str, Any]]
    """The rows of every touched section as they were; of secrets the names that the import added."""
    after_json: Mapped[dict[str, Any]]
    """How to recognize that a touched section is still as the import left it."""
    undone_at: Mapped[datetime | None]
