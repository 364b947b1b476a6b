"""Files of a local disk: opening, reading, making folders, and the disk's errors as the store's."""

# Descriptors and real paths have no pathlib form, so this module speaks text throughout.
# ruff: noqa: PTH101, PTH102, PTH112, PTH114, PTH116, PTH120

import errno
import hashlib
import os
import stat
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final

from kroma.storage.checksums import ChecksumMemory
from kroma.storage.errors import (
    ObjectNotFoundError,
    ObjectTooLargeError,
    OutsideProjectError,
    StoreFullError,
    StoreUnavailableError,
)
from kroma.storage.references import relative_key
from kroma.storage.temp_files import mode_in, sync_folder

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CHUNK_BYTES: Final = 1024**2
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EISDIR})


def read_file(path: str, *, limit_bytes: int, name: str | None = None) -> bytes:
    """A regular file's bytes; blocks. Errors call it ``name``, else by its path.

    Raises:
        ObjectNotFoundError: There is none.
        ObjectTooLargeError: It is larger than ``limit_bytes``.
        StoreUnavailableError: It cannot be read.
    """
    name = name or path
    with opened(name, path) as (descriptor, size):
        if size > limit_bytes:
            raise ObjectTooLargeError(name, size, limit_bytes)
        return read_at(descriptor, 0, size)


def checksum_of(key: str, path: str, memory: ChecksumMemory) -> str:
    """SHA-256 (hex) of a regular file, read only when it changed since it was remembered; blocks.

    Raises:
        ObjectNotFoundError: There is none.
        StoreUnavailableError: It cannot be read.
    """
    with opened(key, path) as (descriptor, size):
        found = os.fstat(descriptor)
        version = f"{found.st_dev}-{found.st_ino}-{size}-{found.st_mtime_ns}-{found.st_ctime_ns}"
        if (known := memory.get(path, version)) is not None:
            return known
        digest = hashlib.sha256()
        start = 0
        while chunk := os.pread(descriptor, _CHUNK_BYTES, start):
            digest.update(chunk)
            start += len(chunk)
        sha256 = digest.hexdigest()
        # A file may change again within one tick of its clock, and look as it did.
        if time.time() - max(found.st_mtime, found.st_ctime) > memory.tick_s:
            memory.put(path, version, sha256)
        return sha256


def path_below(root: str, key: str) -> str:
    """Where a key really is; ``root`` is a real path already."""
    names = relative_key(key, roots=()).split("/")
    path = root.rstrip("/")
    for name in names:
        path = f"{path}/{name}"
        # `realpath` asks about every folder down from `/`; most keys have no symlink on their way.
        if os.path.islink(path):
            real = os.path.realpath(f"{root}/{'/'.join(names)}")
            if real != root and not real.startswith(f"{root.rstrip('/')}/"):
                raise OutsideProjectError(key)
            return real
    return path.rstrip("/") or "/"


@contextmanager
def translated(key: str) -> Generator[None, None, None]:
    """The disk's errors as the store's."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _NO_SPACE:
            raise StoreFullError(key) from exc
        raise StoreUnavailableError(key, exc.strerror or type(exc).__name__) from exc


@contextmanager
def opened(key: str, path: str) -> Generator[tuple[int, int], None, None]:
    """A regular file's descriptor and size."""
    descriptor, size = _open_regular(key, path)
    try:
        with translated(key):
            yield descriptor, size
    finally:
        os.close(descriptor)


class OpenFile:
    """A regular file that threads read; it is not closed under a reader whose await was canceled."""

    def __init__(self, key: str, path: str) -> None:
        self.key = key
        self._guard = threading.Lock()
        self._is_open = True
        self._descriptor, self.size_bytes = _open_regular(key, path)

    def read(self, start: int, length: int) -> bytes:
        """Blocks; nothing comes of a closed file."""
        with self._guard, translated(self.key):
            return read_at(self._descriptor, start, length) if self._is_open else b""

    def close(self) -> None:
        """Wait for a thread that reads, and give the descriptor back."""
        with self._guard:
            self._is_open = False
            os.close(self._descriptor)


def _open_regular(key: str, path: str) -> tuple[int, int]:
    try:
        # Non-blocking: a pipe that nobody writes to would hold the thread for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno in _NOT_THERE:
            raise ObjectNotFoundError(key) from exc
        raise StoreUnavailableError(key, exc.strerror or type(exc).__name__) from exc
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise ObjectNotFoundError(key)
    return descriptor, found.st_size


def read_at(descriptor: int, start: int, length: int) -> bytes:
    """Up to ``length`` bytes from ``start``; blocks."""
    first = os.pread(descriptor, length, start)
    if len(first) == length:
        return first
    chunks = [first]
    got = len(first)
    # One call reads at most 2 GiB, and a network file system less.
    while chunks[-1] and got < length:
        chunks.append(os.pread(descriptor, length - got, start + got))
        got += len(chunks[-1])
    return b"".join(chunks)


def make_folder(path: str, *, is_shared: bool = False) -> None:
    """A folder and those above it, each on the disk when this returns and as open as the one around it."""
    missing: list[str] = []
    folder = path
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for new in reversed(missing):
        with suppress(FileExistsError):  # by another worker just now; a file of that name fails right after
            mode = mode_in(os.path.dirname(new))
            os.mkdir(new, mode)
            if is_shared:
                with suppress(OSError):  # a file system without modes
                    os.chmod(new, mode | os.stat(new).st_mode & stat.S_ISGID)
        sync_folder(os.path.dirname(new))
