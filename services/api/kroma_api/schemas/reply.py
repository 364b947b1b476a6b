"""What every body shares: the envelope, and how values are shown (contract 1.2, 1.3)."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Final, Literal, Self, get_type_hints
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


_SHOWN_AS: Final[Mapping[Any, Callable[[Any], object]]] = {
    Id: shown_id,
    OptionalId: shown_id,
    Stamp: shown_stamp,
    Any: shown_json,
    str: lambda text: text or "",
    float: float,
}


class RowView(msgspec.Struct, frozen=True, kw_only=True):
    """Shows a row: the type of a field says how the row's attribute of the same name is shown."""

    @classmethod
    def from_row(cls, row: Any, /, **computed: Any) -> Self:  # noqa: ANN401 - any row that has the attributes
        """Show a row.

        Args:
            row: Has an attribute for each field that is not computed.
            computed: Fields that the row does not have, or that show something else.
        """
        for name, shown in _shown_fields(cls):
            if name not in computed:
                value = getattr(row, name)
                computed[name] = value if shown is None else shown(value)
        return cls(**computed)


@cache
def _shown_fields(view: type[RowView]) -> list[tuple[str, Callable[[Any], object] | None]]:
    return [(name, _SHOWN_AS.get(kind)) for name, kind in get_type_hints(view, include_extras=True).items()]


class DeletedResponse(Reply, frozen=True, kw_only=True):
    """The resource is gone."""

    deleted: Literal[True] = True
    id: str
    """The id given in the path."""
