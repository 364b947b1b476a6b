"""Bodies of ``/api/projects/{slug}/characters``."""

from typing import Self

import msgspec
from msgspec import UNSET

from kroma.project_texts.models import Character
from kroma_api.schemas.reply import Id, ListReply, Reply, RequiredText, Stamp, shown_stamp


class CreateCharacterRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/characters``."""

    name: RequiredText = UNSET
    """Unique in the project; 200 characters at most."""
    description: str | None = None
    """For people."""
    prompt_text: str | None = None
    """What prompts say of the character."""


class ChangeCharacterRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``PUT /api/projects/{slug}/characters/{character_id}``; at least one field."""

    name: str | None = None
    """Unique in the project; 200 characters at most."""
    description: str | None = None
    """Blank clears it."""
    prompt_text: str | None = None
    """Blank clears it."""


class CharacterView(msgspec.Struct, frozen=True, kw_only=True):
    """Someone who appears in the pictures."""

    id: Id
    project_id: Id
    name: str
    description: str
    prompt_text: str
    """What prompts say of the character."""
    created_at: Stamp
    updated_at: Stamp

    @classmethod
    def of(cls, character: Character) -> Self:
        """Show a character."""
        return cls(
            id=str(character.id),
            project_id=str(character.project_id),
            name=character.name,
            description=character.description or "",
            prompt_text=character.prompt_text or "",
            created_at=shown_stamp(character.created_at),
            updated_at=shown_stamp(character.updated_at),
        )


class ListCharactersResponse(ListReply, frozen=True, kw_only=True):
    """Characters, last changed first."""

    characters: list[CharacterView]


class CharacterResponse(Reply, frozen=True, kw_only=True):
    """One character."""

    character: CharacterView
