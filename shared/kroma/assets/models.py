"""Pictures that are kept, and how they descend from each other."""

from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base, Created, Identified, Timestamped
from kroma.errors import NotOneOfError
from kroma.texts import required_text


class AssetKind(StrEnum):
    """What a picture is to its run."""

    INPUT = "input"
    REFERENCE = "reference"
    CANDIDATE_OUTPUT = "candidate_output"
    CANDIDATE_FINAL_OUTPUT = "candidate_final_output"
    JOB_FINAL_OUTPUT = "job_final_output"
    BACKGROUND_REMOVED = "background_removed"
    BACKGROUND_REFINED = "background_refined"
    UPSCALED = "upscaled"
    COLOR_CORRECTED = "color_corrected"
    RUN_LOG = "run_log"


class LinkType(StrEnum):
    """How a child picture relates to its parent."""

    DERIVED_FROM = "derived_from"
    VARIANT_OF = "variant_of"
    MASK_FOR = "mask_for"
    REFERENCE_OF = "reference_of"

    @classmethod
    def named(cls, text: str) -> Self:
        """The type a caller means.

        Raises:
            FieldRequiredError: The text is blank.
            NotOneOfError: There is no such type.
        """
        name = required_text("link_type", text).lower()
        try:
            return cls(name)
        except ValueError:
            raise NotOneOfError("link_type", tuple(cls)) from None


class Asset(Identified, Created, Base):
    """One kept file. Its identity is (project, ``rel_path``); ``storage_uri`` may move to S3."""

    __tablename__ = "assets"
    __table_args__ = (
        UniqueConstraint("project_id", "rel_path"),
        Index("ix_assets_listed", "project_id", text("created_at DESC"), text("id DESC")),
        Index("ix_assets_kind", "project_id", "kind", text("created_at DESC"), text("id DESC")),
        Index("ix_assets_sha256", "project_id", "sha256"),
        Index("ix_assets_run_id", "run_id", text("created_at DESC"), text("id DESC")),
        Index("ix_assets_job_id", "job_id"),
        Index("ix_assets_candidate_id", "candidate_id"),
    )

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    kind: Mapped[str]
    storage_uri: Mapped[str]
    rel_path: Mapped[str]
    """Forward slashes, relative to the project root when the file lies inside it."""
    storage_backend: Mapped[str] = mapped_column(default="local", server_default="local")
    mime_type: Mapped[str | None]
    width: Mapped[int | None]
    height: Mapped[int | None]
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str | None]
    # Deferred: a job points to its final asset and that asset to its job.
    run_id: Mapped[UUID | None] = mapped_column(
        ForeignKey(
            "runs.id",
            name="fk_assets_run_id",
            ondelete="SET NULL",
            deferrable=True,
            initially="DEFERRED",
            use_alter=True,
        )
    )
    job_id: Mapped[UUID | None] = mapped_column(
        ForeignKey(
            "run_jobs.id",
            name="fk_assets_job_id",
            ondelete="SET NULL",
            deferrable=True,
            initially="DEFERRED",
            use_alter=True,
        )
    )
    candidate_id: Mapped[UUID | None] = mapped_column(
        ForeignKey(
            "run_candidates.id",
            name="fk_assets_candidate_id",
            ondelete="SET NULL",
            deferrable=True,
            initially="DEFERRED",
            use_alter=True,
        )
    )
    metadata_json: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'"))


class AssetLink(Identified, Timestamped, Base):
    """A typed edge from a parent picture to its child."""

    __tablename__ = "asset_links"
    __table_args__ = (
        UniqueConstraint("project_id", "parent_asset_id", "child_asset_id", "link_type"),
        CheckConstraint("parent_asset_id <> child_asset_id", name="ends_differ"),
        CheckConstraint(
            "link_type IN ('derived_from', 'variant_of', 'mask_for', 'reference_of')", name="link_type"
        ),
        Index("ix_asset_links_listed", "project_id", text("updated_at DESC"), text("id DESC")),
        Index("ix_asset_links_parent", "parent_asset_id"),
        Index("ix_asset_links_child", "child_asset_id"),
    )

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    parent_asset_id: Mapped[UUID] = mapped_column(ForeignKey("assets.id", ondelete="CASCADE"))
    child_asset_id: Mapped[UUID] = mapped_column(ForeignKey("assets.id", ondelete="CASCADE"))
    link_type: Mapped[str] = mapped_column(default=LinkType.DERIVED_FROM)
