"""What every body shares: the envelope, and how values are shown (contract 1.2, 1.3)."""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, UnsetType

RequiredText = str | UnsetType
"""A body's text that a rule requires: absent is a 400 of that rule, null a 422 of the shape.

Fields that may be absent or null are ``T | None = None`` instead; the document marks those of
this type as required.
"""

Id = Annotated[str, Meta(examples=["3f2b8c1e-6d0a-4c55-9b3e-0e8f1f6f2a71"])]
OptionalId = Annotated[str, Meta(description="An id, or empty")]
Stamp = Annotated[
    str,
    Meta(description="UTC, in seconds; empty when it has not happened", examples=["2027-01-31T12:00:00Z"]),
]
AuditId = Annotated[str, Meta(description="The event in the audit trail that records this change")]

_STAMP: Final = "%04d-%02d-%02dT%02d:%02d:%02dZ"

NextCursor = Annotated[str | None, Meta(description="`after` of the next page; null at the end")]


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every success; resources stand beside ``ok``."""

    ok: Literal[True] = True


class ListReply(Reply, frozen=True, kw_only=True):
    """The body of a list."""

    count: int
    """Elements in this reply, not in all."""
    next: NextCursor


def shown_stamp(moment: datetime | None) -> str:
    """A moment in seconds, or nothing."""
    if moment is None:
        return ""
    utc = moment.astimezone(UTC)
    # strftime takes five times as long, and a page shows hundreds of stamps.
    return _STAMP % (utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second)


def shown_id(identifier: UUID | None) -> str:
    """An id, or nothing."""
    return "" if identifier is None else str(identifier)


def shown_json(value: object) -> object:
    """A JSON column, decoded or as it was read; an empty one shows as ``{}``."""
    return {} if value is None else value


class DeletedResponse(Reply, frozen=True, kw_only=True):
    """The resource is gone."""

    deleted: Literal[True] = True
    id: str
    """The id given in the path."""
