"""Bodies of ``/api/projects/{slug}/reference-sets``, items included."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta

from kroma_api.schemas.reply import (
    Id,
    ListReply,
    Reply,
    RequiredText,
    RowView,
    Stamp,
)

_INT_MIN: Final = -(2**31)
_INT_MAX: Final = 2**31 - 1

SortOrder = Annotated[
    int,
    Meta(ge=_INT_MIN, le=_INT_MAX, description="Place in the set, smallest first; may be negative"),
]


class CreateReferenceSetRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/reference-sets``."""

    name: RequiredText = UNSET
    """Unique in the project; 200 characters at most."""
    description: str | None = None
    """For people."""


class ChangeReferenceSetRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``PUT /api/projects/{slug}/reference-sets/{reference_set_id}``; at least one field."""

    name: str | None = None
    """Unique in the project; 200 characters at most."""
    description: str | None = None
    """Blank clears it."""


class CreateReferenceItemRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/reference-sets/{reference_set_id}/items``; one content at least."""

    label: RequiredText = UNSET
    """What it is called."""
    content_uri: str | None = None
    """Free text, never opened."""
    content_text: str | None = None
    """The reference in words."""
    sort_order: SortOrder | None = None
    """0 when absent."""
    metadata_json: Any = None
    """Any JSON."""


class ChangeReferenceItemRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``PUT`` of an item; at least one field, and one content must be left."""

    label: str | None = None
    """What it is called."""
    content_uri: str | None = None
    """Blank clears it."""
    content_text: str | None = None
    """Blank clears it."""
    sort_order: SortOrder | None = None
    """Its place in the set."""
    metadata_json: Any = None
    """Any JSON."""


class ReferenceSetView(RowView, frozen=True, kw_only=True):
    """A named collection of references."""

    id: Id
    project_id: Id
    name: str
    description: str
    created_at: Stamp
    updated_at: Stamp


class ReferenceItemView(RowView, frozen=True, kw_only=True):
    """One reference: a text, the address of a picture, or both."""

    id: Id
    project_id: Id
    reference_set_id: Id
    label: str
    content_uri: str
    """The address of a picture, or empty."""
    content_text: str
    """The reference in words, or empty."""
    sort_order: int
    metadata_json: Any
    """Free."""
    created_at: Stamp
    updated_at: Stamp


class ListReferenceSetsResponse(ListReply, frozen=True, kw_only=True):
    """Reference sets, last changed first."""

    reference_sets: list[ReferenceSetView]


class ReferenceSetResponse(Reply, frozen=True, kw_only=True):
    """One reference set."""

    reference_set: ReferenceSetView


class ListReferenceItemsResponse(ListReply, frozen=True, kw_only=True):
    """The items of a set in their order."""

    reference_set_id: str
    """The id given in the path."""
    items: list[ReferenceItemView]


class ReferenceItemResponse(Reply, frozen=True, kw_only=True):
    """One item."""

    item: ReferenceItemView
