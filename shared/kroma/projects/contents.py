"""What all rows of a project share: how one is found, and in which order they are listed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Protocol, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, Mapped

from kroma.db.ids import row_id
from kroma.db.keyset import Listing, descending
from kroma.db.reader import Query, Reader, RowMapper
from kroma.errors import NotFoundError
from kroma.projects.models import Project
from kroma.projects.slugs import normalized_slug


class Content(Protocol):
    """A row that belongs to a project."""

    project_id: Mapped[UUID]


class ProjectRow(Content, Protocol):
    """A row of a project with an id."""

    id: Mapped[UUID]


class NewRow(ProjectRow, Protocol):
    """A row that belongs to a project and remembers when it came to be."""

    created_at: Mapped[datetime]


class ChangingRow(ProjectRow, Protocol):
    """A row that belongs to a project and remembers its last change."""

    updated_at: Mapped[datetime]


Found = TypeVar("Found", bound=Content)
Row = TypeVar("Row", bound=ProjectRow)
New = TypeVar("New", bound=NewRow)
Changing = TypeVar("Changing", bound=ChangingRow)


async def find_in_project(
    source: AsyncSession | Reader, model: type[Found], *, slug: str, lock: bool = False, **wanted: object
) -> Found | None:
    """The project's row with these values.

    Args:
        source: A session for an entity, which may be changed, or a reader for its values.
        model: The row's class.
        lock: Keep others from changing or deleting the row until the session's transaction ends.
        wanted: Columns of the row by name.
    """
    project_slug = normalized_slug(slug)
    if project_slug is None:
        return None
    if isinstance(source, Reader):
        return await _query(model, tuple(wanted)).first(source, slug=project_slug, **wanted)
    statement = _in_project(select(model), model, tuple(wanted))
    if lock:
        statement = statement.with_for_update(of=model)
    return await source.scalar(statement, {"slug": project_slug, **wanted})


async def get_in_project(
    source: AsyncSession | Reader,
    model: type[Row],
    *,
    slug: str,
    identifier: str,
    missing: NotFoundError,
    lock: bool = False,
    **wanted: object,
) -> Row:
    """The project's row with this id, as it was sent, and these values; see `find_in_project`.

    Raises:
        NotFoundError: ``missing``, when the project or the row is unknown.
    """
    key = row_id(identifier)
    row = (
        None if key is None else await find_in_project(source, model, slug=slug, lock=lock, id=key, **wanted)
    )
    if row is None:
        raise missing
    return row


def newest_first(
    model: type[New],
    *,
    filters: Mapping[str, ColumnElement[bool]] | None = None,
    without: Sequence[InstrumentedAttribute[Any]] = (),
) -> Listing[New]:
    """The list of a project's rows that begins with the newest."""
    order = descending(model.created_at), descending(model.id)
    return Listing(model, *order, of=model.project_id, filters=filters, without=without)


def last_changed_first(
    model: type[Changing], *, filters: Mapping[str, ColumnElement[bool]] | None = None
) -> Listing[Changing]:
    """The list of a project's rows that begins with the one that changed last."""
    order = descending(model.updated_at), descending(model.id)
    return Listing(model, *order, of=model.project_id, filters=filters)


@cache
def _query(model: type[Found], names: tuple[str, ...]) -> Query[Found]:
    rows = RowMapper(model)
    return Query(rows, _in_project(rows.statement, model, names))


def _in_project(statement: Select[Any], model: type[Content], names: tuple[str, ...]) -> Select[Any]:
    conditions = (getattr(model, name) == bindparam(name) for name in names)
    return statement.join(Project, Project.id == model.project_id).where(
        Project.slug == bindparam("slug"), *conditions
    )
