"""Making and changing projects."""

import asyncio
from typing import Final, NamedTuple, Self
from uuid import UUID

import msgspec
from msgspec import UnsetType
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.audit import service as audit
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.errors import NothingGivenError
from kroma.projects.errors import (
    BlankBaseDirError,
    NoLocalStorageError,
    ProfileNotForProjectError,
    RootOutsideProjectError,
    RootRefusedError,
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
from kroma.projects.roots import is_taken, list_own_roots, lock_roots, register_root, settle_roots
from kroma.projects.slugs import normalized_slug, slug_of_name
from kroma.projects.storage import local_storage
from kroma.storage.base import LocalStorage, ProjectStores
from kroma.storage.directory import DEFAULT_BASE_DIR
from kroma.storage.errors import RootNotAllowedError
from kroma.storage.roots import is_at_or_below
from kroma.texts import name_text, optional_text, required_text

_FOLDERS_TRIED: Final = 1000
"""More projects of one name than this have no default folder."""


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
        """Trim, normalize and default.

        Raises:
            FieldRequiredError: ``name`` is missing or blank.
            TextTooLongError: A name or slug is over its limit.
        """
        checked_name = name_text("name", required_text("name", name))
        return cls(
            name=checked_name,
            slug=name_text("slug", normalized_slug(slug or "") or slug_of_name(checked_name)),
            description=optional_text(description) or "",
            username=name_text("username", normalized_slug(username or "") or LOCAL_USERNAME),
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


async def upsert_project(
    db: Database, stores: ProjectStores, draft: ProjectDraft, *, actor: UUID | None
) -> ChangedProject:
    """Create the project in a folder of its own, or overwrite the owner's project of the same slug.

    Raises:
        SlugTakenError: Another owner has a project of this slug.
    """
    await settle_roots(db, stores)
    async with db.transaction() as session:
        await lock_roots(session)
        owner_id = await ensure_user(session, username=draft.username, display_name=draft.display_name)
        project = await _upsert_row(session, draft, owner_id=owner_id)
        storage = await _ensure_storage(session, project, stores)
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


async def _ensure_storage(session: AsyncSession, project: Project, stores: ProjectStores) -> ProjectStorage:
    storage = await session.scalar(
        select(ProjectStorage).where(ProjectStorage.project_id == project.id).with_for_update()
    )
    if storage is None:
        storage = ProjectStorage(project_id=project.id, local_base_dir=DEFAULT_BASE_DIR)
        session.add(storage)
        await session.flush()
        if stores.registers_roots:
            await _take_free_folder(session, project, storage, stores)
    return storage


async def _take_free_folder(
    session: AsyncSession, project: Project, storage: ProjectStorage, stores: ProjectStores
) -> None:
    """Register ``var/projects/<slug>``, or the first of ``<slug>-2``, ``<slug>-3`` that is free.

    Where no project may be below ``var/projects``, none is: what is written later says so.
    """
    for number in range(1, _FOLDERS_TRIED + 1):
        folder = None if number == 1 else f"{DEFAULT_BASE_DIR}/{project.slug}-{number}"
        root = LocalStorage(base_dir=DEFAULT_BASE_DIR, project_root=folder)
        location = stores.locate(project_id=project.id, slug=project.slug, storage=root)
        try:
            path = await asyncio.to_thread(stores.resolve, location)
        except RootNotAllowedError:
            continue
        if not await is_taken(session, path, project.id):
            storage.local_project_root = folder
            await register_root(session, storage, path)
            return


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
    is_confined: bool,
    actor: UUID | None,
) -> ChangedProject:
    """Set where a project keeps its files; nothing is moved or created on disk.

    Args:
        change: What to set.
        is_confined: Whether the caller may name folders of the project only.

    Raises:
        NothingGivenError: Neither field is given.
        ProjectNotFoundError: No project has this slug.
        NoLocalStorageError: This installation keeps the files of projects in a bucket.
        BlankBaseDirError: ``base_dir`` is blank.
        RootRefusedError: The root would be where no project may be, or overlap another project's.
        RootOutsideProjectError: The caller may name folders of the project only, and this is none.
    """
    if change.base_dir is None and change.project_root is None:
        raise NothingGivenError("base_dir", "project_root")
    await settle_roots(db, stores)
    async with db.transaction() as session:
        await lock_roots(session)
        project = await get_project(session, slug)
        if stores.hosted:
            raise NoLocalStorageError
        storage = await _ensure_storage(session, project, stores)
        if change.base_dir is not None:
            storage.local_base_dir = _checked_base_dir(change.base_dir)
        if change.project_root is not None:
            storage.local_project_root = optional_text(change.project_root)
        await _register_root(session, project, storage, stores, change=change, is_confined=is_confined)
        event = await audit.record(
            session,
            code="storage.local.update",
            project_id=project.id,
            actor=actor,
            payload={"updated": "local"},
        )
    return ChangedProject(project, storage, event.id)


async def _register_root(
    session: AsyncSession,
    project: Project,
    storage: ProjectStorage,
    stores: ProjectStores,
    *,
    change: LocalStorageChange,
    is_confined: bool,
) -> None:
    field = "base_dir" if change.project_root is None else "project_root"
    path = await _resolve(stores, project, storage, field=field)
    if is_confined:
        named = [(field, path)]
        if change.base_dir is not None:
            # It counts once the root is cleared, whoever does that.
            beside = LocalStorage(base_dir=storage.local_base_dir, project_root=None)
            named.append(("base_dir", await _resolve(stores, project, beside, field="base_dir")))
        own = await list_own_roots(session, project.id)
        for name, root in named:
            if not any(is_at_or_below(root, folder) for folder in own):
                raise RootOutsideProjectError(name)
    elif await is_taken(session, path, project.id):
        raise RootRefusedError(field)
    await register_root(session, storage, path)


async def _resolve(
    stores: ProjectStores, project: Project, storage: ProjectStorage | LocalStorage, *, field: str
) -> str:
    root = storage if isinstance(storage, LocalStorage) else local_storage(storage)
    location = stores.locate(project_id=project.id, slug=project.slug, storage=root)
    try:
        return await asyncio.to_thread(stores.resolve, location)
    except RootNotAllowedError as exc:
        raise RootRefusedError(field) from exc


class S3StorageChange(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of a project's S3 storage; None leaves a field as it is, blank clears a text."""

    enabled: bool | None = None
    bucket: str | None = None
    prefix: str | None = None
    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None


async def change_s3_storage(
    db: Database,
    change: S3StorageChange,
    *,
    slug: str,
    stores: ProjectStores,
    is_confined: bool,
    actor: UUID | None,
) -> ChangedProject:
    """Set where a project is copied to; nothing is checked or contacted.

    Raises:
        ProjectNotFoundError: No project has this slug.
        ProfileNotForProjectError: The caller may name nothing of the installation's, as a profile is.
    """
    async with db.transaction() as session:
        await lock_roots(session)
        project = await get_project(session, slug)
        storage = await _ensure_storage(session, project, stores)
        # Without any it would be the installation's default credentials.
        keeps_profile = change.profile is None or optional_text(change.profile) == storage.s3_profile
        if is_confined and not keeps_profile:
            raise ProfileNotForProjectError
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
