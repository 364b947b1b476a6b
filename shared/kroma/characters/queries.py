"""Reading characters."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from kroma.characters.errors import CharacterNotFoundError
from kroma.characters.models import Character
from kroma.db.keyset import EVERYTHING, Page, Window
from kroma.projects.contents import get_in_project, list_last_changed


async def list_characters(
    session: AsyncSession, project_id: UUID, *, window: Window = EVERYTHING
) -> Page[Character]:
    """The characters of a project, last changed first."""
    return await list_last_changed(session, Character, project_id, window=window)


async def get_character(
    session: AsyncSession, *, slug: str, character_id: str, lock: bool = False
) -> Character:
    """A project's character.

    Raises:
        CharacterNotFoundError: The project or the character is unknown.
    """
    return await get_in_project(
        session, Character, slug=slug, identifier=character_id, missing=CharacterNotFoundError(), lock=lock
    )
