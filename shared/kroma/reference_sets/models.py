"""Reference sets of a project and their items."""

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base, Identified, Timestamped


class ReferenceSet(Identified, Timestamped, Base):
    """A named collection of references."""

    __tablename__ = "reference_sets"
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        Index("ix_reference_sets_listed", "project_id", text("updated_at DESC"), text("id DESC")),
    )

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str]
    description: Mapped[str | None]


class ReferenceSetItem(Identified, Timestamped, Base):
    """One reference: a text, the address of a picture, or both."""

    __tablename__ = "reference_set_items"
    __table_args__ = (
        Index(
            "ix_reference_set_items_listed",
            "reference_set_id",
            "sort_order",
            text("updated_at DESC"),
            text("id DESC"),
        ),
    )

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    reference_set_id: Mapped[UUID] = mapped_column(ForeignKey("reference_sets.id", ondelete="CASCADE"))
    label: Mapped[str]
    content_uri: Mapped[str | None]
    """Free text, never dereferenced here."""
    content_text: Mapped[str | None]
    sort_order: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    metadata_json: Mapped[Any] = mapped_column(default=dict, server_default=text("'{}'"))
