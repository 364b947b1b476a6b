"""Bodies of ``/api/projects/{slug}/characters``."""

import msgspec
from msgspec import UNSET

from kroma_api.schemas.reply import Id, ListReply, Reply, RequiredText, RowView, Stamp


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


class CharacterView(RowView, frozen=True, kw_only=True):
    """Someone who appears in the pictures."""

    id: Id
    project_id: Id
    name: str
    description: str
    prompt_text: str
    """What prompts say of the character."""
    created_at: Stamp
    updated_at: Stamp


class ListCharactersResponse(ListReply, frozen=True, kw_only=True):
    """Characters, last changed first."""

    characters: list[CharacterView]


class CharacterResponse(Reply, frozen=True, kw_only=True):
    """One character."""

    character: CharacterView
