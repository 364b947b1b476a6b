"""The named texts of a project, and the items of its reference sets."""

from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, declared_attr, mapped_column
from sqlalchemy.schema import SchemaItem

from kroma.db.base import Base, Identified, Timestamped


class NamedRow(Identified, Timestamped, Base):
    """A row whose name is unique in its project, case-sensitive; its other columns are texts."""

    __abstract__ = True

    label: ClassVar[str]
    """What error texts call it."""
    required: ClassVar[frozenset[str]] = frozenset()
    """The texts beside the name that may not be blank."""

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str]

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[SchemaItem, ...]:
        return (
            UniqueConstraint("project_id", "name"),
            Index(f"ix_{cls.__tablename__}_listed", "project_id", text("updated_at DESC"), text("id DESC")),
        )


class StyleGuide(NamedRow):
    """How the pictures of a project should look, in words."""

    __tablename__ = "style_guides"
    label = "Style guide"
    required = frozenset({"instructions"})

    instructions: Mapped[str]
    notes: Mapped[str | None]


class Character(NamedRow):
    """Someone who appears in the pictures."""

    __tablename__ = "characters"
    label = "Character"

    description: Mapped[str | None]
    prompt_text: Mapped[str | None]


class PromptTemplate(NamedRow):
    """A named text; placeholders in it stay as they are."""

    __tablename__ = "prompt_templates"
    label = "Prompt template"
    required = frozenset({"template_text"})

    template_text: Mapped[str]


class ReferenceSet(NamedRow):
    """A named collection of references."""

    __tablename__ = "reference_sets"
    label = "Reference set"

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
