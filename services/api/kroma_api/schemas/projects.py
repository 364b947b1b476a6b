"""Bodies of ``/api/projects``, storage included."""

from typing import Literal, Self

import msgspec
from msgspec import UNSET

from kroma.projects.models import DEFAULT_S3_PREFIX, Project, ProjectStorage
from kroma.projects.storage import locate_project
from kroma.storage.base import ProjectStores
from kroma.storage.directory import DEFAULT_BASE_DIR
from kroma_api.schemas.reply import AuditId, Id, ListReply, Reply, RequiredText, RowView, Stamp


class CreateProjectRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects``."""

    name: RequiredText = UNSET
    """200 characters at most."""
    slug: str | None = None
    """Made from the name when absent."""
    description: str | None = None
    """Empty when absent."""
    username: str | None = None
    """The owner, created on demand; ``local`` when absent."""
    user_display_name: str | None = None
    """The owner's; the username when absent."""


class ChangeLocalStorageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``PUT /api/projects/{slug}/storage/local``; at least one of the two."""

    base_dir: str | None = None
    """The folder of projects; relative to the data directory, or absolute where that is allowed."""
    project_root: str | None = None
    """Blank goes back to ``<base_dir>/<slug>``."""


class ChangeS3StorageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``PUT /api/projects/{slug}/storage/s3``; absent fields stay, blank texts are cleared."""

    enabled: bool | None = None
    """Whether copies are wanted."""
    bucket: str | None = None
    """Its name."""
    prefix: str | None = None
    """``iat-projects`` when cleared."""
    region: str | None = None
    """Like ``eu-central-1``."""
    profile: str | None = None
    """A profile of the server's AWS configuration."""
    endpoint_url: str | None = None
    """Another server than AWS."""


class ProjectName(RowView, frozen=True, kw_only=True):
    """The project that a response is about."""

    id: Id
    slug: str
    name: str


class ProjectListed(RowView, frozen=True, kw_only=True):
    """A project in the list."""

    id: Id
    slug: str
    name: str
    description: str
    status: str
    """``active``."""
    username: str
    """The owner."""
    created_at: Stamp
    updated_at: Stamp

    @classmethod
    def of(cls, project: Project, username: str) -> Self:
        return cls.from_row(project, username=username)


class ProjectView(RowView, frozen=True, kw_only=True):
    """A project."""

    id: Id
    slug: str
    name: str
    description: str
    status: str
    """``active``."""
    paused_at: Stamp
    """Empty when its runs may go on."""
    paused_reason: str
    """Why it was paused; empty otherwise."""
    created_at: Stamp
    updated_at: Stamp


class ProjectCountsView(RowView, frozen=True, kw_only=True):
    """How much a project holds."""

    runs: int
    jobs: int
    assets: int


class ProjectSpendView(RowView, frozen=True, kw_only=True):
    """What a project costs, in USD, since it began; its budget counts by period."""

    spent_usd: float
    """Settled."""
    held_usd: float
    """For runs and calls under way, and for calls whose answer was lost."""
    unknown_price_calls: int
    """Calls whose cost nobody knows; they are in neither sum."""


class LocalStorageView(msgspec.Struct, frozen=True, kw_only=True):
    """The project's place on disk."""

    base_dir: str
    """The stored value."""
    project_root: str
    """The resolved absolute path; where this installation keeps files in a bucket, its address there."""


class S3StorageView(msgspec.Struct, frozen=True, kw_only=True):
    """The project's place in a bucket."""

    enabled: bool
    bucket: str
    prefix: str
    region: str
    profile: str
    endpoint_url: str


class StorageView(msgspec.Struct, frozen=True, kw_only=True):
    """The storage of a project."""

    local: LocalStorageView
    s3: S3StorageView

    @classmethod
    def of(cls, project: Project, storage: ProjectStorage | None, *, stores: ProjectStores) -> Self:
        row = storage or ProjectStorage(local_base_dir=DEFAULT_BASE_DIR, s3_enabled=False)
        return cls(
            local=LocalStorageView(
                base_dir=row.local_base_dir,
                project_root=locate_project(stores, project.id, project.slug, storage),
            ),
            s3=S3StorageView(
                enabled=row.s3_enabled,
                bucket=row.s3_bucket or "",
                prefix=row.s3_prefix or DEFAULT_S3_PREFIX,
                region=row.s3_region or "",
                profile=row.s3_profile or "",
                endpoint_url=row.s3_endpoint_url or "",
            ),
        )


class StorageResponse(Reply, frozen=True, kw_only=True):
    """A project's storage."""

    project: ProjectName
    storage: StorageView


class UpsertProjectResponse(StorageResponse, frozen=True, kw_only=True):
    """The project as it is now."""

    audit_id: AuditId


class ChangeLocalStorageResponse(StorageResponse, frozen=True, kw_only=True):
    """The storage as it is now."""

    updated: Literal["local"] = "local"
    audit_id: AuditId


class ChangeS3StorageResponse(StorageResponse, frozen=True, kw_only=True):
    """The storage as it is now."""

    updated: Literal["s3"] = "s3"
    audit_id: AuditId


class ListProjectsResponse(ListReply, frozen=True, kw_only=True):
    """Projects, last changed first."""

    projects: list[ProjectListed]


class ProjectResponse(Reply, frozen=True, kw_only=True):
    """A project with what it holds."""

    project: ProjectView
    counts: ProjectCountsView
    spend: ProjectSpendView | None
    """Null for a token that may only review."""
    storage: StorageView
    """Every text of it is empty for a token that may only review."""
