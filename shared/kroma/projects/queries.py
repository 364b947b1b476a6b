"""Reading projects."""

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from kroma.db.keyset import EVERYTHING, Listing, Page, Window, descending
from kroma.db.prepared import Prepared
from kroma.db.reader import Query, Reader, equals
from kroma.projects.errors import ProjectNotFoundError
from kroma.projects.models import LOCAL_USERNAME, AppUser, Project, ProjectStorage
from kroma.projects.slugs import normalized_slug

_LISTED = Listing(
    Project,
    descending(Project.updated_at),
    descending(Project.created_at),
    descending(Project.id),
    filters={
        "owner": Project.owner.has(AppUser.username == bindparam("owner")),
        "only": Project.id == bindparam("only"),
    },
)
_ID = Prepared(select(Project.id).where(equals(Project.slug)))
_PROJECT = Query[Project].where(Project, equals(Project.slug))
_STORAGE = Query[ProjectStorage].where(ProjectStorage, equals(ProjectStorage.project_id))
_USERNAMES = Prepared(
    select(AppUser.id, AppUser.username).where(AppUser.id == any_(bindparam("ids", type_=ARRAY(Uuid))))
)


class StoredProject(NamedTuple):
    """A project and where it keeps its files."""

    project: Project
    storage: ProjectStorage | None
    """None means the defaults."""


async def get_project_id(reader: Reader, slug: str) -> UUID:
    """The id of the project whose slug ``slug`` normalizes to.

    Raises:
        ProjectNotFoundError: There is none, or ``slug`` cannot be normalized.
    """
    normalized = normalized_slug(slug)
    identifier: UUID | None = None if normalized is None else await reader.value(_ID, slug=normalized)
    if identifier is None:
        raise ProjectNotFoundError
    return identifier


async def get_stored_project(reader: Reader, slug: str) -> StoredProject:
    """The project whose slug ``slug`` normalizes to, with its storage.

    Raises:
        ProjectNotFoundError: There is none, or ``slug`` cannot be normalized.
    """
    normalized = normalized_slug(slug)
    project = None if normalized is None else await _PROJECT.first(reader, slug=normalized)
    if project is None:
        raise ProjectNotFoundError
    return StoredProject(project, await _STORAGE.first(reader, project_id=project.id))


async def find_project(session: AsyncSession, slug: str) -> Project | None:
    """The project whose slug ``slug`` normalizes to, with its storage row."""
    normalized = normalized_slug(slug)
    if normalized is None:
        return None
    statement = select(Project).where(Project.slug == normalized).options(joinedload(Project.storage))
    return await session.scalar(statement)


async def get_project(session: AsyncSession, slug: str) -> Project:
    """The project whose slug ``slug`` normalizes to, with its storage row.

    Raises:
        ProjectNotFoundError: There is none, or ``slug`` cannot be normalized.
    """
    project = await find_project(session, slug)
    if project is None:
        raise ProjectNotFoundError
    return project


async def get_local_project(session: AsyncSession, slug: str) -> Project:
    """The local user's project of this slug.

    Raises:
        ProjectNotFoundError: There is none, or it is another owner's.
    """
    project = await get_project(session, slug)
    owner = await session.get_one(AppUser, project.owner_user_id)
    if owner.username != LOCAL_USERNAME:
        raise ProjectNotFoundError
    return project


async def list_projects(
    reader: Reader,
    *,
    username: str | None = None,
    only_project_id: UUID | None = None,
    window: Window = EVERYTHING,
) -> Page[Project]:
    """Projects, last changed first.

    Args:
        username: Keep this owner's; a name that cannot be normalized keeps all.
        only_project_id: Keep this one, for a token that may see no other.

    Raises:
        WrongCursorError: The window's cursor is not one of this list.
    """
    owner = None if username is None else normalized_slug(username)
    return await _LISTED.page(reader, window, owner=owner, only=only_project_id)


async def usernames(reader: Reader, projects: Iterable[Project]) -> dict[UUID, str]:
    """The names of the projects' owners by their ids."""
    owners = {project.owner_user_id for project in projects}
    return dict(await reader.records(_USERNAMES, ids=owners))
