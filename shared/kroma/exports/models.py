"""Export packages of a project."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base, Created, Identified


class ProjectExport(Identified, Created, Base):
    """One package; making them comes with a later version."""

    __tablename__ = "project_exports"
    __table_args__ = (
        Index("ix_project_exports_listed", "project_id", text("created_at DESC"), text("id DESC")),
        Index("ix_project_exports_run_id", "run_id"),
    )

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"))
    status: Mapped[str]
    export_format: Mapped[str]
    storage_uri: Mapped[str | None]
    rel_path: Mapped[str | None]
    file_size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    checksum_sha256: Mapped[str | None]
    manifest_json: Mapped[Any] = mapped_column(default=dict, server_default=text("'{}'"))
    completed_at: Mapped[datetime | None]
