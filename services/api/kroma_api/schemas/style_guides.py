"""Bodies of ``/api/projects/{slug}/style-guides``."""

import msgspec
from msgspec import UNSET

from kroma_api.schemas.reply import Id, ListReply, Reply, RequiredText, RowView, Stamp


class CreateStyleGuideRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/style-guides``."""

    name: RequiredText = UNSET
    """Unique in the project; 200 characters at most."""
    instructions: RequiredText = UNSET
    """How pictures should look."""
    notes: str | None = None
    """For people."""


class ChangeStyleGuideRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``PUT /api/projects/{slug}/style-guides/{style_guide_id}``; at least one field."""

    name: str | None = None
    """Unique in the project; 200 characters at most."""
    instructions: str | None = None
    """How pictures should look."""
    notes: str | None = None
    """Blank clears them."""


class StyleGuideView(RowView, frozen=True, kw_only=True):
    """How the pictures of a project should look, in words."""

    id: Id
    project_id: Id
    name: str
    instructions: str
    notes: str
    created_at: Stamp
    updated_at: Stamp


class ListStyleGuidesResponse(ListReply, frozen=True, kw_only=True):
    """Style guides, last changed first."""

    style_guides: list[StyleGuideView]


class StyleGuideResponse(Reply, frozen=True, kw_only=True):
    """One style guide."""

    style_guide: StyleGuideView
