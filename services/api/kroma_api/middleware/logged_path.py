"""What a log may show of a path: anybody can paste anything into one, a key or a password too."""

import re
from typing import Final

from kroma.logs import begins_like_a_key

HIDDEN: Final = "*"
_WORD: Final = re.compile(r"[a-z][a-z._-]{0,31}")
"""What our routes are made of, and the codes of providers and tools."""
_SLUG: Final = re.compile(r"(?=.{1,64}\Z)[a-z0-9]{1,20}(?:[_-]+[a-z0-9]{1,20})*")
"""Of a project. Keys are runs of letters and digits that are longer than words; a slug has pieces."""
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def logged_path(path: str) -> str:
    """A path with ``*`` for every segment that is neither a word, an id, nor a project's slug."""
    return "/".join(segment and logged_segment(segment) for segment in path.split("/"))


def logged_segment(segment: str) -> str:
    """A segment as it may be shown."""
    if begins_like_a_key(segment):
        return HIDDEN
    shown = any(pattern.fullmatch(segment) for pattern in (_WORD, _ID, _SLUG))
    return segment if shown else HIDDEN
