"""Ids as callers send them: opaque texts."""

from uuid import UUID


def row_id(text: str) -> UUID | None:
    """The id a text spells in the form we give out; None for any other text, which names no row.

    ``UUID`` alone would also read braces, upper case and missing dashes: two texts for one row.
    """
    try:
        parsed = UUID(text)
    except ValueError:
        return None
    return parsed if str(parsed) == text else None
