"""Copying a project to its bucket, back, or comparing the two: each time a job of its own."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base, Created, Identified
from kroma.leases.models import Failable, Leased


class SyncKind(StrEnum):
    """Which way the bytes go."""

    SYNC = "sync"
    """From the project's root to the bucket."""
    RESTORE = "restore"
    """From the bucket to the project's root."""
    VERIFY = "verify"
    """Nowhere: both sides are compared."""


class SyncStatus(StrEnum):
    """Where a sync stands: ``queued`` -> ``running`` -> an end; back to ``queued`` to be tried again."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"


OPEN_SYNC_STATUSES: Final = frozenset({SyncStatus.QUEUED, SyncStatus.RUNNING})
MAX_ATTEMPTS: Final = 5


class SyncJob(Identified, Created, Leased, Failable, Base):
    """One sync, restore or verification of a project; docs/sync.md draws its moves."""

    __tablename__ = "sync_jobs"
    __table_args__ = (
        CheckConstraint("kind IN ('sync', 'restore', 'verify')", name="kind"),
        CheckConstraint("status IN ('queued', 'running', 'done', 'failed', 'canceled')", name="status"),
        Index("ix_sync_jobs_listed", "project_id", text("created_at DESC"), text("id DESC")),
        # What claims and the sweep look at.
        Index("ix_sync_jobs_open", "created_at", postgresql_where=text("status IN ('queued', 'running')")),
        # Two at a time would send the same files twice, and delete what the other has just found.
        Index(
            "uq_sync_jobs_running",
            "project_id",
            unique=True,
            postgresql_where=text("status = 'running'"),
        ),
        Index("ix_sync_jobs_run_id", "run_id"),
    )

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"))
    """The run whose end asked for it."""
    requested_by: Mapped[UUID | None] = mapped_column(ForeignKey("app_users.id", ondelete="SET NULL"))
    kind: Mapped[str] = mapped_column(default=SyncKind.SYNC, server_default="sync")
    status: Mapped[str] = mapped_column(default=SyncStatus.QUEUED, server_default="queued")
    dry_run: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    delete_extra: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    """Whether objects go that have no file any more."""
    allow_missing: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    overwrite: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    """Of a restore: whether files go that differ from their object."""
    project_root: Mapped[str]
    destination: Mapped[str]
    """``s3://<bucket>/<prefix>/<project id>/``."""
    phase: Mapped[str] = mapped_column(default="", server_default="")
    files_total: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    files_done: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    bytes_total: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    bytes_done: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    result_json: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'"))
    uploads_json: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'"))
    """The SHA-256 of what each multipart upload that this one began is of, by the upload's id."""
    max_attempts: Mapped[int] = mapped_column(default=MAX_ATTEMPTS, server_default=text("5"))
    cancel_requested_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
