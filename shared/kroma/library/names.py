"""The names that files are sent with."""

from pathlib import PurePosixPath
from typing import Final

_LONGEST: Final = 200
_NAMELESS: Final = "picture"


def shown_name(sent: str) -> str:
    """The last part of a sent file name, printable and not too long, for sentences and rows."""
    last = sent.replace("\\", "/").rstrip("/").rpartition("/")[2].strip()
    printable = "".join(character if character.isprintable() else "_" for character in last)
    if len(printable) > _LONGEST:
        suffix = PurePosixPath(printable).suffix[:10]
        printable = printable[: _LONGEST - len(suffix)] + suffix
    return printable or _NAMELESS
