"""Making, changing and deleting characters (contract 3.15)."""

from msgspec import UnsetType

from kroma.characters.errors import CharacterNameTakenError
from kroma.characters.models import Character
from kroma.characters.queries import get_character
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.db.unique import flush_unique
from kroma.projects.queries import get_project
from kroma.texts import optional_text, require_any, required_name


async def create_character(
    db: Database,
    *,
    slug: str,
    name: str | UnsetType,
    description: str | None = None,
    prompt_text: str | None = None,
) -> Character:
    """Add a character.

    Raises:
        FieldRequiredError: ``name`` is missing or blank.
        ProjectNotFoundError: No project has this slug.
        CharacterNameTakenError: The project has a character of this name.
    """
    character = Character(
        name=required_name(name),
        description=optional_text(description),
        prompt_text=optional_text(prompt_text),
    )
    async with db.transaction() as session:
        character.project_id = (await get_project(session, slug)).id
        session.add(character)
        await flush_unique(session, taken=CharacterNameTakenError())
    return character


async def change_character(
    db: Database,
    *,
    slug: str,
    character_id: str,
    name: str | None = None,
    description: str | None = None,
    prompt_text: str | None = None,
) -> Character:
    """Set the given fields; None keeps one, blank clears all but the name.

    Raises:
        NothingGivenError: No field is given.
        CharacterNotFoundError: The project or the character is unknown.
        FieldRequiredError: A given ``name`` is blank.
        CharacterNameTakenError: Another character has this name.
    """
    require_any(name=name, description=description, prompt_text=prompt_text)
    async with db.transaction() as session:
        character = await get_character(session, slug=slug, character_id=character_id, lock=True)
        if name is not None:
            character.name = required_name(name)
        if description is not None:
            character.description = optional_text(description)
        if prompt_text is not None:
            character.prompt_text = optional_text(prompt_text)
        character.updated_at = utc_now()
        await flush_unique(session, taken=CharacterNameTakenError())
    return character


async def delete_character(db: Database, *, slug: str, character_id: str) -> None:
    """Remove a character for good.

    Raises:
        CharacterNotFoundError: The project or the character is unknown.
    """
    async with db.transaction() as session:
        character = await get_character(session, slug=slug, character_id=character_id, lock=True)
        await session.delete(character)
