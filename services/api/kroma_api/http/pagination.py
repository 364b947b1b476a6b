"""Which part of a list a request wants (contract 1.10), and which of its rows."""

from enum import StrEnum
from typing import Annotated, Final, TypeVar

from litestar.params import QueryParameter

from kroma.db.keyset import Window
from kroma.errors import NotOneOfError
from kroma.old_names import current_name

Limit = Annotated[
    int | None, QueryParameter(description="Elements at most; a value outside the list's range is clamped")
]
After = Annotated[str | None, QueryParameter(description="The `next` of the page before")]

DEFAULT_RUNS: Final = 200
MAX_RUNS: Final = 1000
DEFAULT_ROWS: Final = 500
MAX_ROWS: Final = 2000

Vocabulary = TypeVar("Vocabulary", bound=StrEnum)


def window(
    limit: int | None, after: str | None, *, default: int = DEFAULT_ROWS, largest: int = MAX_ROWS
) -> Window:
    """The part of a list that always has a limit: silently within 1 and ``largest``."""
    return Window(default if limit is None else min(max(limit, 1), largest), after)


def open_window(limit: int | None, after: str | None) -> Window:
    """The part of a list that is whole unless a limit or a cursor is given."""
    return Window() if limit is None and after is None else window(limit, after)


def one_of(field: str, text: str | None, vocabulary: type[Vocabulary]) -> Vocabulary | None:
    """The word of the vocabulary that a filter names; None without a filter.

    Raises:
        NotOneOfError: There is no such word.
    """
    if text is None:
        return None
    try:
        return vocabulary(current_name(text.strip().lower()))
    except ValueError:
        raise NotOneOfError(field, tuple(vocabulary)) from None
