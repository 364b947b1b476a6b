"""What all rows of a project share: how one is found, and in which order they are listed."""

from datetime import datetime
from functools import cache
from typing import Protocol, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped

from kroma.db.ids import row_id
from kroma.db.keyset import EVERYTHING, ListOrder, Page, Window, descending
from kroma.errors import NotFoundError
from kroma.projects.models import Project
from kroma.projects.slugs import normalised_slug


class ProjectRow(Protocol):
    """A row that belongs to a project."""

    id: Mapped[UUID]
    project_id: Mapped[UUID]


class ChangingRow(ProjectRow, Protocol):
    """A row that belongs to a project and remembers its last change."""

    updated_at: Mapped[datetime]


Row = TypeVar("Row", bound=ProjectRow)
Changing = TypeVar("Changing", bound=ChangingRow)


async def get_in_project(
    session: AsyncSession,
    model: type[Row],
    *conditions: ColumnElement[bool],
    slug: str,
    identifier: str,
    missing: NotFoundError,
    lock: bool = False,
) -> Row:
    """A project's row.

    Args:
        session: The transaction to read in.
        model: The row's class.
        conditions: What else must hold of the row.
        slug: The project, as the path names it.
        identifier: The row's id as sent.
        missing: What to raise.
        lock: Keep others from changing or deleting the row until the transaction ends.

    Raises:
        NotFoundError: ``missing``, when the project or the row is unknown.
    """
    key = row_id(identifier)
    project_slug = normalised_slug(slug)
    if key is None or project_slug is None:
        raise missing
    statement = (
        select(model)
        .join(Project, Project.id == model.project_id)
        .where(Project.slug == project_slug, model.id == key, *conditions)
    )
    if lock:
        statement = statement.with_for_update(of=model)
    row = await session.scalar(statement)
    if row is None:
        raise missing
    return row


async def list_last_changed(
    session: AsyncSession,
    model: type[Changing],
    project_id: UUID,
    *conditions: ColumnElement[bool],
    window: Window = EVERYTHING,
) -> Page[Changing]:
    """A project's rows for which the conditions hold, last changed first.

    Raises:
        WrongCursorError: The window's cursor is not one of this list.
    """
    statement = select(model).where(model.project_id == project_id, *conditions)
    return await _last_changed(model).page(session, statement, window, scope=project_id)


@cache
def _last_changed(model: type[ChangingRow]) -> ListOrder:
    return ListOrder(model.__name__, descending(model.updated_at), descending(model.id))
