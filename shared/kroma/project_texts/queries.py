"""Reading the named texts."""

from functools import cache
from typing import TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.keyset import EVERYTHING, Listing, Page, Window
from kroma.db.reader import Reader
from kroma.errors import NotFoundError
from kroma.project_texts.models import NamedRow
from kroma.projects.contents import get_in_project, last_changed_first

Text = TypeVar("Text", bound=NamedRow)


async def list_texts(
    reader: Reader, model: type[Text], project_id: UUID, *, window: Window = EVERYTHING
) -> Page[Text]:
    """The rows of a project, last changed first."""
    return await _listing(model).page(reader, window, of=project_id)


async def get_text(
    source: AsyncSession | Reader, model: type[Text], *, slug: str, identifier: str, lock: bool = False
) -> Text:
    """A project's row.

    Raises:
        NotFoundError: The project or the row is unknown.
    """
    missing = NotFoundError(f"{model.label} not found")
    return await get_in_project(source, model, slug=slug, identifier=identifier, missing=missing, lock=lock)


@cache
def _listing(model: type[Text]) -> Listing[Text]:
    return last_changed_first(model)
