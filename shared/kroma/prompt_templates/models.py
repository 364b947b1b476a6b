"""Prompt templates of a project."""

from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base, Identified, Timestamped


class PromptTemplate(Identified, Timestamped, Base):
    """A named text; its name is unique in the project, case-sensitive."""

    __tablename__ = "prompt_templates"
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        Index("ix_prompt_templates_listed", "project_id", text("updated_at DESC"), text("id DESC")),
    )

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str]
    template_text: Mapped[str]
