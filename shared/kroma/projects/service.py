"""Making and changing projects."""

from pathlib import Path
from typing import NamedTuple, Self
from uuid import UUID

import msgspec
from msgspec import UnsetType
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.audit import service as audit
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.errors import NothingGivenError
from kroma.projects.errors import (
    BlankBaseDirError,
    NoLocalStorageError,
    RootOutsideDataDirError,
    SlugTakenError,
)
from kroma.projects.models import (
    LOCAL_DISPLAY_NAME,
    LOCAL_USERNAME,
    AppUser,
    Project,
    ProjectStatus,
    ProjectStorage,
)
from kroma.projects.queries import get_project
from kroma.projects.slugs import normalised_slug, slug_of_name
from kroma.projects.storage import local_root
from kroma.storage.base import ProjectStores
from kroma.storage.directory import may_hold_projects
from kroma.texts import name_text, optional_text, required_text


class ProjectDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A project to create or overwrite, every rule of contract 3.3 passed."""

    name: str
    slug: str
    description: str
    username: str
    display_name: str

    @classmethod
    def checked(
        cls,
        *,
        name: str | UnsetType | None,
        slug: str | None = None,
        description: str | None = None,
        username: str | None = None,
        display_name: str | None = None,
    ) -> Self:
        """Trim, normalise and default.

        Raises:
            FieldRequiredError: ``name`` is missing or blank.
            TextTooLongError: A name or slug is over its limit.
        """
        checked_name = name_text("name", required_text("name", name))
        return cls(
            name=checked_name,
            slug=name_text("slug", normalised_slug(slug or "") or slug_of_name(checked_name)),
            description=optional_text(description) or "",
            username=name_text("username", normalised_slug(username or "") or LOCAL_USERNAME),
            display_name=name_text("user_display_name", optional_text(display_name) or LOCAL_DISPLAY_NAME),
        )


class ChangedProject(NamedTuple):
    """A project after a change, and the trail's record of it."""

    project: Project
    storage: ProjectStorage
    audit_id: UUID


async def ensure_user(session: AsyncSession, *, username: str, display_name: str) -> UUID:
    """The id of the user with this name, made on demand; the display name is overwritten."""
    statement = (
        insert(AppUser)
        .values(username=username, display_name=display_name)
        .on_conflict_do_update(
            index_elements=[AppUser.username], set_={"display_name": display_name, "updated_at": utc_now()}
        )
        .returning(AppUser.id)
    )
    return (await session.execute(statement)).scalar_one()


async def upsert_project(db: Database, draft: ProjectDraft, *, actor: UUID | None) -> ChangedProject:
    """Create the project, or overwrite the owner's project of the same slug.

    Raises:
        SlugTakenError: Another owner has a project of this slug.
    """
    async with db.transaction() as session:
        owner_id = await ensure_user(session, username=draft.username, display_name=draft.display_name)
        project = await _upsert_row(session, draft, owner_id=owner_id)
        storage = await _ensure_storage(session, project.id)
        event = await audit.record(
            session,
            code="project.upsert",
            project_id=project.id,
            actor=actor,
            payload={"project_id": str(project.id), "slug": project.slug},
        )
    return ChangedProject(project, storage, event.id)


async def _upsert_row(session: AsyncSession, draft: ProjectDraft, *, owner_id: UUID) -> Project:
    # ON CONFLICT rather than select and insert: two callers with one name must leave one row.
    new = insert(Project).values(
        owner_user_id=owner_id, slug=draft.slug, name=draft.name, description=draft.description
    )
    statement = new.on_conflict_do_update(
        index_elements=[Project.slug],
        set_={
            "name": draft.name,
            "description": draft.description,
            "status": ProjectStatus.ACTIVE,
            "updated_at": utc_now(),
        },
        where=Project.owner_user_id == owner_id,
    ).returning(Project)
    project = await session.scalar(statement, execution_options={"populate_existing": True})
    if project is None:
        raise SlugTakenError(draft.slug)
    return project


async def _ensure_storage(session: AsyncSession, project_id: UUID) -> ProjectStorage:
    # The empty update makes an existing row come back as well.
    statement = (
        insert(ProjectStorage)
        .values(project_id=project_id)
        .on_conflict_do_update(index_elements=[ProjectStorage.project_id], set_={"project_id": project_id})
        .returning(ProjectStorage)
    )
    storage = await session.scalar(statement, execution_options={"populate_existing": True})
    if storage is None:
        msg = "an upsert without a condition always returns its row"
        raise AssertionError(msg)
    return storage


class LocalStorageChange(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of a project's local storage; None leaves a field as it is."""

    base_dir: str | None = None
    project_root: str | None = None
    """Blank goes back to ``<base_dir>/<slug>``."""


async def change_local_storage(
    db: Database,
    change: LocalStorageChange,
    *,
    slug: str,
    stores: ProjectStores,
    data_dir: Path,
    allow_any_root: bool,
    actor: UUID | None,
) -> ChangedProject:
    """Set where a project keeps its files; nothing is moved or created on disk.

    Raises:
        NothingGivenError: Neither field is given.
        ProjectNotFoundError: No project has this slug.
        NoLocalStorageError: This installation keeps the files of projects in a bucket.
        BlankBaseDirError: ``base_dir`` is blank.
        RootOutsideDataDirError: A path leads outside the data directory where that is not allowed.
    """
    if change.base_dir is None and change.project_root is None:
        raise NothingGivenError("base_dir", "project_root")
    async with db.transaction() as session:
        project = await get_project(session, slug)
        if stores.hosted:
            raise NoLocalStorageError
        storage = await _ensure_storage(session, project.id)
        if change.base_dir is not None:
            storage.local_base_dir = _checked_base_dir(change.base_dir)
        if change.project_root is not None:
            storage.local_project_root = optional_text(change.project_root)
        root = local_root(data_dir, project.slug, storage)
        if not allow_any_root and not may_hold_projects(data_dir, root):
            raise RootOutsideDataDirError("base_dir" if change.project_root is None else "project_root")
        event = await audit.record(
            session,
            code="storage.local.update",
            project_id=project.id,
            actor=actor,
            payload={"updated": "local"},
        )
    return ChangedProject(project, storage, event.id)


class S3StorageChange(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of a project's S3 storage; None leaves a field as it is, blank clears a text."""

    enabled: bool | None = None
    bucket: str | None = None
    prefix: str | None = None
    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None


async def change_s3_storage(
    db: Database, change: S3StorageChange, *, slug: str, actor: UUID | None
) -> ChangedProject:
    """Set where a project is copied to; nothing is checked or contacted.

    Raises:
        ProjectNotFoundError: No project has this slug.
    """
    async with db.transaction() as session:
        project = await get_project(session, slug)
        storage = await _ensure_storage(session, project.id)
        if change.enabled is not None:
            storage.s3_enabled = change.enabled
        for field in ("bucket", "prefix", "region", "profile", "endpoint_url"):
            text: str | None = getattr(change, field)
            if text is not None:
                setattr(storage, f"s3_{field}", optional_text(text))
        event = await audit.record(
            session,
            code="storage.s3.update",
            project_id=project.id,
            actor=actor,
            payload={"updated": "s3"},
        )
    return ChangedProject(project, storage, event.id)


def _checked_base_dir(text: str) -> str:
    base_dir = text.strip()
    if not base_dir:
        raise BlankBaseDirError
    return base_dir
