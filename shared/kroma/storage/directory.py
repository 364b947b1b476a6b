"""A project's files in a local directory."""

# Descriptors, scandir and real paths have no pathlib form, so this module speaks text throughout.
# ruff: noqa: PTH100, PTH102, PTH104, PTH108, PTH112, PTH114, PTH120

import asyncio
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from kroma.errors import KromaError
from kroma.storage.base import ObjectEnds, ObjectStore, StoredObject
from kroma.storage.errors import (
    ObjectNotFoundError,
    ObjectTooLargeError,
    OutsideProjectError,
    RootNotAllowedError,
    StoreFullError,
    StoreUnavailableError,
)
from kroma.storage.references import refuse_undecodable, relative_key

FOLDERS: Final = ("outputs", "runs", "archive/bad")
"""What every run writes to; the other folders of pipeline.md 1.4 come when something is put there."""

_TEMPORARY_PREFIX: Final = ".kroma-put-"
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EISDIR})


class DirectoryStore:
    """Implements ``ObjectStore``; every call that touches the disk does so in a thread."""

    def __init__(self, root: Path, *, within: Path | None = None) -> None:
        """A store at ``root``, which must lead to a place below ``within`` where that is given."""
        self._root = Path(os.path.abspath(root))
        self._within = within

    @property
    def location(self) -> str:
        return str(self._root)

    @property
    def backend(self) -> str:
        return "local"

    def key_of(self, ref: str) -> str:
        return relative_key(ref, roots=(str(self._root),))

    def uri(self, key: str) -> str:
        return (self._root / key).as_uri()

    async def put(self, key: str, data: bytes) -> StoredObject:
        return await asyncio.to_thread(self._put, key, data)

    async def get(self, key: str, *, limit_bytes: int) -> bytes:
        return await asyncio.to_thread(self._get, key, limit_bytes)

    async def get_range(self, key: str, *, start: int, length: int) -> bytes:
        return await asyncio.to_thread(self._get_range, key, start, length)

    async def read_ends(
        self, keys: Sequence[str], *, head_bytes: int, tail_bytes: int
    ) -> list[ObjectEnds | KromaError]:
        return await asyncio.to_thread(self._read_ends, keys, head_bytes, tail_bytes)

    async def size(self, key: str) -> int | None:
        return await asyncio.to_thread(self._size, key)

    async def list_keys(self, prefix: str) -> list[str]:
        return await asyncio.to_thread(self._list_keys, prefix)

    async def is_folder(self, key: str) -> bool:
        return await asyncio.to_thread(lambda: os.path.isdir(self._path(key)))

    async def move(self, source_key: str, target_key: str) -> None:
        await asyncio.to_thread(self._move, source_key, target_key)

    async def check_writable(self) -> None:
        await asyncio.to_thread(self._check_writable)

    def _path(self, key: str) -> str:
        """Where a key really is, every symlink followed; inside the root or nowhere."""
        return _path_below(self._real_root(), key)

    def _real_root(self) -> str:
        root = os.path.realpath(self._root)
        if self._within is not None:
            within = os.path.realpath(self._within)
            if not root.startswith(f"{within.rstrip('/')}/"):
                raise RootNotAllowedError(str(self._root))
        return root

    def _put(self, key: str, data: bytes) -> StoredObject:
        path = self._path(key)
        if os.path.isdir(path):
            raise StoreUnavailableError(key, os.strerror(errno.EISDIR))
        folder = os.path.dirname(path)
        with _translated(key):
            _make_folder(folder)
            _write_whole(folder, path, data)
        return StoredObject(key=key, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    def _get(self, key: str, limit_bytes: int) -> bytes:
        return read_file(self._path(key), limit_bytes=limit_bytes, name=key)

    def _get_range(self, key: str, start: int, length: int) -> bytes:
        with _opened(key, self._path(key)) as (descriptor, size):
            return _read(descriptor, start if start >= 0 else max(0, size + start), length)

    def _read_ends(
        self, keys: Sequence[str], head_bytes: int, tail_bytes: int
    ) -> list[ObjectEnds | KromaError]:
        root = self._real_root()
        ends: list[ObjectEnds | KromaError] = []
        for key in keys:
            try:
                ends.append(_ends(root, key, head_bytes, tail_bytes))
            except KromaError as exc:
                ends.append(exc)
        return ends

    def _size(self, key: str) -> int | None:
        try:
            with _opened(key, self._path(key)) as (_, size):
                return size
        except ObjectNotFoundError:
            return None

    def _list_keys(self, prefix: str) -> list[str]:
        folder = relative_key(prefix, roots=())
        keys: list[str] = []
        pending = [(folder, True)]
        while pending:
            key, is_folder = pending.pop()
            if is_folder:
                pending.extend(reversed(self._entries(key)))
            else:
                keys.append(key)
        return keys

    def _entries(self, folder: str) -> list[tuple[str, bool]]:
        """Files and folders directly below a folder, in order, each with whether it is a folder."""
        with _translated(folder):
            try:
                with os.scandir(self._path(folder)) as found:
                    entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
            except (FileNotFoundError, NotADirectoryError):
                return []
        listed: list[tuple[str, bool]] = []
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            is_file = entry.is_file(follow_symlinks=False) and not entry.name.startswith(_TEMPORARY_PREFIX)
            if is_folder or is_file:
                refuse_undecodable(entry.name)
                listed.append((f"{folder}/{entry.name}" if folder else entry.name, is_folder))
        return listed

    def _move(self, source_key: str, target_key: str) -> None:
        source, target = self._path(source_key), self._path(target_key)
        source_folder, target_folder = os.path.dirname(source), os.path.dirname(target)
        if not os.path.lexists(source):
            if os.path.lexists(target):
                return
            raise ObjectNotFoundError(source_key)
        with _translated(target_key):
            _make_folder(target_folder)
            os.rename(source, target)
            for folder in {source_folder, target_folder}:
                _sync_folder(folder)

    def _check_writable(self) -> None:
        root = self._real_root()
        with _translated(self.location):
            for folder in ("", *FOLDERS):
                path = _path_below(root, folder)
                if not os.path.isdir(path):
                    _make_folder(path)
                if not os.access(path, os.W_OK | os.X_OK):
                    raise StoreUnavailableError(path, os.strerror(errno.EACCES))
            # Rights alone do not show a read-only mount to root, or a disk without an inode left.
            probe = f"{root}/{_TEMPORARY_PREFIX}{secrets.token_hex(8)}"
            descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, b"0")
            finally:
                os.close(descriptor)
                os.unlink(probe)


class DirectoryStores:
    """Opens project directories below the data directory, or anywhere where that is allowed."""

    def __init__(self, data_dir: Path, *, allow_any_root: bool) -> None:
        self._data_dir = data_dir
        self._allow_any_root = allow_any_root

    def open(self, location: str) -> ObjectStore:
        within = None if self._allow_any_root else self._data_dir
        return DirectoryStore(self._data_dir / location, within=within)


def read_file(path: str, *, limit_bytes: int, name: str | None = None) -> bytes:
    """A regular file's bytes; blocks. Errors call it ``name``, else by its path.

    Raises:
        ObjectNotFoundError: There is none.
        ObjectTooLargeError: It is larger than ``limit_bytes``.
        StoreUnavailableError: It cannot be read.
    """
    name = name or path
    with _opened(name, path) as (descriptor, size):
        if size > limit_bytes:
            raise ObjectTooLargeError(name, size, limit_bytes)
        return _read(descriptor, 0, size)


def _path_below(root: str, key: str) -> str:
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


def _ends(root: str, key: str, head_bytes: int, tail_bytes: int) -> ObjectEnds:
    with _opened(key, _path_below(root, key)) as (descriptor, size):
        head = _read(descriptor, 0, min(head_bytes, size))
        if len(head) == size:
            return ObjectEnds(size_bytes=size, head=head, tail=head[-tail_bytes:])
        tail = _read(descriptor, max(0, size - tail_bytes), tail_bytes)
    return ObjectEnds(size_bytes=size, head=head, tail=tail)


@contextmanager
def _translated(key: str) -> Generator[None, None, None]:
    """The disk's errors as the store's."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _NO_SPACE:
            raise StoreFullError(key) from exc
        raise StoreUnavailableError(key, exc.strerror or type(exc).__name__) from exc


@contextmanager
def _opened(key: str, path: str) -> Generator[tuple[int, int], None, None]:
    """A regular file's descriptor and size."""
    try:
        # Non-blocking: a pipe that nobody writes to would hold the thread for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno in _NOT_THERE:
            raise ObjectNotFoundError(key) from exc
        raise StoreUnavailableError(key, exc.strerror or type(exc).__name__) from exc
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ObjectNotFoundError(key)
        with _translated(key):
            yield descriptor, found.st_size
    finally:
        os.close(descriptor)


def _read(descriptor: int, start: int, length: int) -> bytes:
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


def _make_folder(path: str) -> None:
    missing: list[str] = []
    folder = path
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for new in reversed(missing):
        with suppress(FileExistsError):  # by another worker just now; a file of that name fails right after
            os.mkdir(new)
        _sync_folder(os.path.dirname(new))


def _write_whole(folder: str, path: str, data: bytes) -> None:
    """All of it under its name, and on the disk, or nothing."""
    temporary = f"{folder}/{_TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            written = 0
            while written < len(data):
                written += os.write(descriptor, memoryview(data)[written:])
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
