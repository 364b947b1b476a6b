"""Style guides of a project."""

from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base, Identified, Timestamped


class StyleGuide(Identified, Timestamped, Base):
    """How the pictures of a project should look, in words."""

    __tablename__ = "style_guides"
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        Index("ix_style_guides_listed", "project_id", text("updated_at DESC"), text("id DESC")),
    )

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str]
    instructions: Mapped[str]
    notes: Mapped[str | None]
