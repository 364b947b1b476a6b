"""Bytes for a picture process that lie in an open file of the process that sends them there."""

import os
from pathlib import Path
from typing import Self

import msgspec

_OPEN_FILES = "/proc/{process}/fd/{descriptor}"


class FilePart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a file, read where it is needed: a large upload through a pipe is in memory three times."""

    path: str
    offset: int
    size_bytes: int

    @classmethod
    def find(cls, descriptor: int, *, offset: int, size_bytes: int) -> Self | None:
        """A part of an open file of this process; None where no other process can open it (no ``/proc``)."""
        path = _OPEN_FILES.format(process=os.getpid(), descriptor=descriptor)
        return cls(path=path, offset=offset, size_bytes=size_bytes) if Path(path).exists() else None

    def read(self) -> bytes:
        """The bytes; they must be there while this runs.

        Raises:
            OSError: The file has been closed.
        """
        with Path(self.path).open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size_bytes)
