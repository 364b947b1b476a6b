"""Owners, projects and where a project keeps its pictures."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from kroma.db.base import Base, Created, Identified, Timestamped
from kroma.storage.directory import DEFAULT_BASE_DIR

DEFAULT_S3_PREFIX = "iat-projects"
LOCAL_USERNAME = "local"
LOCAL_DISPLAY_NAME = "Local User"


class ProjectStatus(StrEnum):
    """Only ``active`` is ever written today; the other two belong to the contract's vocabulary."""

    ACTIVE = "active"
    ARCHIVED = "archived"
    DELETED = "deleted"


class AppUser(Identified, Timestamped, Base):
    """An owner of projects and tokens; ``local`` unless a caller names another."""

    __tablename__ = "app_users"

    username: Mapped[str] = mapped_column(unique=True)
    display_name: Mapped[str]
    email: Mapped[str | None]
    is_active: Mapped[bool] = mapped_column(default=True, server_default=text("true"))


class Project(Identified, Timestamped, Base):
    """One story universe; its slug is unique over all owners, since paths carry nothing else."""

    __tablename__ = "projects"
    __table_args__ = (
        CheckConstraint("status IN ('active', 'archived', 'deleted')", name="status"),
        Index("ix_projects_listed", text("updated_at DESC"), text("created_at DESC"), text("id DESC")),
    )

    owner_user_id: Mapped[UUID] = mapped_column(ForeignKey("app_users.id"), index=True)
    owner: Mapped[AppUser] = relationship(lazy="raise")
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="", server_default="")
    status: Mapped[str] = mapped_column(default=ProjectStatus.ACTIVE, server_default=ProjectStatus.ACTIVE)
    settings_json: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'"))
    paused_at: Mapped[datetime | None]
    """While set, no job of the project is begun and no call of one is made."""
    paused_reason: Mapped[str | None]
    storage: Mapped["ProjectStorage | None"] = relationship(lazy="raise", uselist=False)


class ProjectStorage(Identified, Timestamped, Base):
    """Where a project keeps its files; stored as given, with what that led to when it was registered."""

    __tablename__ = "project_storage"

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), unique=True)
    local_base_dir: Mapped[str] = mapped_column(default=DEFAULT_BASE_DIR, server_default=DEFAULT_BASE_DIR)
    local_project_root: Mapped[str | None]
    local_real_root: Mapped[str | None]
    """Where these two led when that was registered, as in ``project_roots``; None is not registered.

    A trigger sees that it is, and takes it away when one of the two changes without it.
    """
    s3_enabled: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    s3_bucket: Mapped[str | None]
    s3_prefix: Mapped[str | None]
    s3_region: Mapped[str | None]
    s3_profile: Mapped[str | None]
    s3_endpoint_url: Mapped[str | None]


class ProjectRoot(Identified, Created, Base):
    """A folder that is one project's for good, whether the project uses it now or not.

    A trigger keeps the roots of two projects disjoint, by whole names and whatever their case. Rows outlive
    their projects: what a deleted project left behind is nobody else's.
    """

    __tablename__ = "project_roots"
    __table_args__ = (
        Index("ix_project_roots_folded", "folded", postgresql_ops={"folded": "text_pattern_ops"}),
    )

    project_id: Mapped[UUID] = mapped_column(index=True)
    path: Mapped[str]
    """Every symlink followed: below the data directory without it in front, absolute elsewhere."""
    folded: Mapped[str] = mapped_column(Computed("lower(normalize(path))", persisted=True))
    """The path as disks that tell neither case nor composition apart have it."""
    contested: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    """Whether another project's root, older than the rule, overlaps it; nothing is written there then."""
