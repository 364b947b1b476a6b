"""Reading projects."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from kroma.db.keyset import EVERYTHING, ListOrder, Page, Window, descending
from kroma.projects.errors import ProjectNotFoundError
from kroma.projects.models import LOCAL_USERNAME, AppUser, Project
from kroma.projects.slugs import normalised_slug

_LAST_CHANGED = ListOrder(
    "Project", descending(Project.updated_at), descending(Project.created_at), descending(Project.id)
)


async def find_project(session: AsyncSession, slug: str) -> Project | None:
    """The project whose slug ``slug`` normalises to, with its storage row."""
    normalised = normalised_slug(slug)
    if normalised is None:
        return None
    statement = select(Project).where(Project.slug == normalised).options(joinedload(Project.storage))
    return await session.scalar(statement)


async def get_project(session: AsyncSession, slug: str) -> Project:
    """The project whose slug ``slug`` normalises to, with its storage row.

    Raises:
        ProjectNotFoundError: There is none, or ``slug`` cannot be normalised.
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
    session: AsyncSession,
    *,
    username: str | None = None,
    only_project_id: UUID | None = None,
    window: Window = EVERYTHING,
) -> Page[Project]:
    """Projects with their owners, last changed first.

    Args:
        session: The transaction to read in.
        username: Keep this owner's; a name that cannot be normalised keeps all.
        only_project_id: Keep this one, for a token that may see no other.
        window: Which part of the list.

    Raises:
        WrongCursorError: The window's cursor is not one of this list.
    """
    statement = select(Project).options(joinedload(Project.owner, innerjoin=True))
    owner = None if username is None else normalised_slug(username)
    if owner is not None:
        statement = statement.where(Project.owner.has(AppUser.username == owner))
    if only_project_id is not None:
        statement = statement.where(Project.id == only_project_id)
    return await _LAST_CHANGED.page(session, statement, window)
