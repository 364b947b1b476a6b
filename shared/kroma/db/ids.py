"""Ids as callers send them: opaque texts."""

from typing import Final
from uuid import UUID

NO_ROW: Final = UUID(int=0)
"""An id that no row has."""


def row_id(text: str) -> UUID | None:
    """The id a text spells in the form we give out; None for any other text, which names no row.

    ``UUID`` alone would also read braces, upper case and missing dashes: two texts for one row.
    """
    try:
        parsed = UUID(text)
    except ValueError:
        return None
    return parsed if str(parsed) == text else None


def optional_row_id(text: str | None) -> UUID | None:
    """The id to filter by; of a text that names no row nothing is kept, and None filters nothing."""
    return None if text is None else row_id(text) or NO_ROW
