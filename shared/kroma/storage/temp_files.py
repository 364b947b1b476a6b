"""Files of a directory store that are still being written, and what a killed writer left of them."""

# Descriptors and scandir have no pathlib form.
# ruff: noqa: PTH105, PTH108

import fcntl
import hashlib
import os
import secrets
import stat
import threading
import time
from contextlib import suppress
from typing import Final

PREFIX: Final = ".kroma-put-"
_YOUNG_S: Final = 20.0
"""A lock is trusted past this age only: some network disks lock within one machine."""
_MOST_FOLDERS: Final = 4096


class UnfinishedFile:
    """A file that gets its name when it is whole and on the disk; every method blocks.

    It is locked while its writer lives, so that whoever can lock it knows that nobody writes to it. Its
    methods exclude each other: after a canceled await, the thread that wrote may still be at it.
    """

    def __init__(self, folder: str, *, is_shared: bool = False) -> None:
        """A file that is as open as its folder; in a shared one whatever the process's umask is."""
        self._guard = threading.Lock()
        self._digest = hashlib.sha256()
        self._is_open = True
        self.size_bytes = 0
        while True:
            self._path = f"{folder}/{PREFIX}{secrets.token_hex(8)}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            mode = mode_in(folder) & 0o666
            self._descriptor = os.open(self._path, flags, mode)
            with suppress(OSError):  # a file system without locks: leftovers stay there for a person
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            if os.fstat(self._descriptor).st_nlink:
                if is_shared:
                    with suppress(OSError):  # a file system without modes
                        os.fchmod(self._descriptor, mode)
                return
            os.close(self._descriptor)  # swept between its making and its lock

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes; nothing happens once the file is closed."""
        with self._guard:
            if not self._is_open:
                return
            rest = memoryview(data)
            self._digest.update(rest)
            self.size_bytes += len(rest)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    @property
    def sha256(self) -> str:
        """Of what was written so far, in hex."""
        return self._digest.hexdigest()

    def finish(self, path: str) -> None:
        """Give it its name, in the same folder, in place of what has that name now."""
        with self._guard:
            if not self._is_open:
                return
            os.fsync(self._descriptor)
            # Still locked: between a close and the rename it would look like a dead writer's.
            os.replace(self._path, path)
            self._close()
        sync_folder(os.path.dirname(path))  # noqa: PTH120 - paths are texts here

    def discard(self) -> None:
        """Remove it unless it is finished."""
        with self._guard:
            if self._is_open:
                with suppress(FileNotFoundError):
                    os.unlink(self._path)
                self._close()

    def _close(self) -> None:
        self._is_open = False
        os.close(self._descriptor)


class Sweeper:
    """Removes what dead writers left, once per folder."""

    def __init__(self) -> None:
        self._swept: set[str] = set()

    def sweep(self, folder: str) -> None:
        """Look through a folder that this object has not found clean before; one that is missing is."""
        if folder in self._swept:
            return
        with suppress(OSError):  # what cannot be read or removed now keeps no write back
            with os.scandir(folder) as entries:
                found = [entry.path for entry in entries if entry.name.startswith(PREFIX)]
            removed = [_removed(path) for path in found]
            if not all(removed):
                return
        if len(self._swept) >= _MOST_FOLDERS:
            self._swept.clear()
        self._swept.add(folder)


def _removed(path: str) -> bool:
    """Whether an unfinished file is gone; one whose writer lives, or may live, stays."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        if abs(time.time() - os.fstat(descriptor).st_mtime) < _YOUNG_S:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        with suppress(FileNotFoundError):
            os.unlink(path)
        return True
    finally:
        os.close(descriptor)


def mode_in(folder: str) -> int:
    """How open a new folder in this one may be: to whom this one is readable, and to nobody else.

    So a closed data directory stays closed whoever writes, and a folder that an artist shares with others
    stays shared.
    """
    found = os.stat(folder).st_mode  # noqa: PTH116 - paths are texts here
    mode = found & (0o755 if found & stat.S_ISVTX else 0o775)
    for group in (0o070, 0o007):
        if not mode & group & 0o044:
            mode &= ~group
    return mode | 0o700


def sync_folder(path: str) -> None:
    """Put a folder's own entries on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
