"""Ids as callers send them: opaque texts."""

from uuid import UUID

from sqlalchemy import ColumnElement, false
from sqlalchemy.orm import InstrumentedAttribute


def row_id(text: str) -> UUID | None:
    """The id a text spells in the form we give out; None for any other text, which names no row.

    ``UUID`` alone would also read braces, upper case and missing dashes: two texts for one row.
    """
    try:
        parsed = UUID(text)
    except ValueError:
        return None
    return parsed if str(parsed) == text else None


def is_row(
    column: InstrumentedAttribute[UUID] | InstrumentedAttribute[UUID | None], text: str
) -> ColumnElement[bool]:
    """Whether the column holds the id that ``text`` spells; of one that names no row nothing is kept."""
    identifier = row_id(text)
    return false() if identifier is None else column == identifier
