"""Characters of a project."""

from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base, Identified, Timestamped


class Character(Identified, Timestamped, Base):
    """Someone who appears in the pictures."""

    __tablename__ = "characters"
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        Index("ix_characters_listed", "project_id", text("updated_at DESC"), text("id DESC")),
    )

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str]
    description: Mapped[str | None]
    prompt_text: Mapped[str | None]
