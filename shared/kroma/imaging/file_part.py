"""Sends a picture process the location of data in an open file instead of the data."""

import os
from pathlib import Path
from typing import Self

import msgspec

_OPEN_FILES = "/proc/{process}/fd/{descriptor}"


class FilePart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a file, read by the picture process: through a pipe, a file is in memory three times."""

    path: str
    offset: int
    size_bytes: int

    @classmethod
    def find(cls, descriptor: int, *, offset: int, size_bytes: int) -> Self | None:
        """A part of this process's open file; None if there is no ``/proc`` to open it through."""
        path = _OPEN_FILES.format(process=os.getpid(), descriptor=descriptor)
        return cls(path=path, offset=offset, size_bytes=size_bytes) if Path(path).exists() else None

    def read(self) -> bytes:
        """The part's bytes.

        Raises:
            OSError: The file has been closed.
        """
        with Path(self.path).open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size_bytes)
