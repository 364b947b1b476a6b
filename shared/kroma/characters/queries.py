"""Reading characters."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from kroma.characters.errors import CharacterNotFoundError
from kroma.characters.models import Character
from kroma.db.keyset import EVERYTHING, Page, Window
from kroma.db.reader import Reader
from kroma.projects.contents import get_in_project, last_changed_first

_LISTED = last_changed_first(Character)


async def list_characters(
    reader: Reader, project_id: UUID, *, window: Window = EVERYTHING
) -> Page[Character]:
    """The characters of a project, last changed first."""
    return await _LISTED.page(reader, window, of=project_id)


async def get_character(
    source: AsyncSession | Reader, *, slug: str, character_id: str, lock: bool = False
) -> Character:
    """A project's character.

    Raises:
        CharacterNotFoundError: The project or the character is unknown.
    """
    return await get_in_project(
        source, Character, slug=slug, identifier=character_id, missing=CharacterNotFoundError(), lock=lock
    )
