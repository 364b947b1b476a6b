"""Baselines: the picture that was locked for a scene."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base, Identified


class Baseline(Identified, Base):
    """One lock. It belongs to the content of a scene, so that a copy of the scene has it too.

    A later lock for the same content replaces it; the row stays, with the moment it was replaced.
    """

    __tablename__ = "baselines"
    __table_args__ = (
        Index(
            "uq_baselines_current",
            "project_id",
            "scene_sha256",
            unique=True,
            postgresql_where=text("replaced_at IS NULL"),
        ),
        Index("ix_baselines_listed", "project_id", text("locked_at DESC"), text("id DESC")),
        Index("ix_baselines_run_id", "run_id"),
        Index("ix_baselines_job_id", "job_id"),
        Index("ix_baselines_candidate_id", "candidate_id"),
        Index("ix_baselines_asset_id", "asset_id"),
    )

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    scene_sha256: Mapped[str]
    """Of the scene's file, in hex."""
    scene_size_bytes: Mapped[int] = mapped_column(BigInteger)
    scene_path: Mapped[str]
    """Where the scene lay when it was read."""
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"))
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey("run_jobs.id", ondelete="SET NULL"))
    job_key: Mapped[str]
    candidate_id: Mapped[UUID | None] = mapped_column(ForeignKey("run_candidates.id", ondelete="SET NULL"))
    candidate_index: Mapped[int]
    """From 1."""
    asset_id: Mapped[UUID | None] = mapped_column(ForeignKey("assets.id", ondelete="SET NULL"))
    path: Mapped[str]
    """The picture's key: as it was generated, before any post-processing."""
    sha256: Mapped[str]
    """Of the picture, in hex."""
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    mime_type: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    stage: Mapped[str]
    time_of_day: Mapped[str]
    weather: Mapped[str]
    note: Mapped[str] = mapped_column(default="", server_default="")
    locked_by: Mapped[UUID | None]
    """The token's user."""
    locked_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    replaced_at: Mapped[datetime | None]
    """When a later lock took its place; None is the current one."""
