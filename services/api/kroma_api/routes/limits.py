"""The ``limit`` of lists (contract 1.10)."""

from typing import Annotated, Final

from litestar.params import QueryParameter

Limit = Annotated[
    int | None, QueryParameter(description="Elements at most; a value outside the list's range is clamped")
]

DEFAULT_RUNS: Final = 200
MAX_RUNS: Final = 1000
DEFAULT_ROWS: Final = 500
MAX_ROWS: Final = 2000


def clamped(limit: int | None, *, default: int = DEFAULT_ROWS, largest: int = MAX_ROWS) -> int:
    """The limit to use: silently within 1 and ``largest``."""
    return default if limit is None else min(max(limit, 1), largest)
