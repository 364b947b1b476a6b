"""The files of a project as a sync sees them; everything here blocks and runs in threads."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from kroma.errors import KromaError
from kroma.storage.errors import UnusableNameError
from kroma.storage.references import refuse_undecodable
from kroma.storage.temp_files import PREFIX
from kroma.sync.errors import FileChangedError, FileGoneError, FileUnreadableError
from kroma.sync.layout import USUAL, Layout

_READ_BYTES: Final = 1024**2
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""A symlink in a file's place is no file of ours."""
_LONGEST_NAME_BYTES: Final = 255
"""Of a file or folder, on every usual file system."""


class LocalFile(msgspec.Struct, frozen=True, gc=False):
    """A regular file, as it was when the folder was read."""

    key: str
    size_bytes: int
    mtime_ns: int

    def is_still(self, found: os.stat_result) -> bool:
        """Whether the file looks as it did."""
        return (found.st_size, found.st_mtime_ns) == (self.size_bytes, self.mtime_ns)


class Digests(msgspec.Struct, frozen=True):
    """What the bytes of a file are known by."""

    sha256: str
    parts: tuple[bytes, ...]
    """The MD5 of every part, or of the whole file where that is sent whole."""


class Scan(msgspec.Struct, frozen=True):
    """What is below a project's root."""

    files: dict[str, LocalFile]
    """By key, in the order of their keys."""
    problems: list[KromaError]
    """Names and folders that cannot be read."""


class LocalTree:
    """The files below a root; symlinks are neither followed nor copied."""

    def __init__(self, root: str, *, left_out: Sequence[str] = (), layout: Layout = USUAL) -> None:
        """A tree at a real path, without what is below the folders ``left_out``."""
        self.root = root
        self.layout = layout
        self._left_out = frozenset(left_out)

    def scan(self) -> Scan:
        """Look at everything.

        Raises:
            FileUnreadableError: The root itself cannot be read.
        """
        found: list[LocalFile] = []
        problems: list[KromaError] = []
        pending = [""]
        while pending:
            folder = pending.pop()
            try:
                with os.scandir(self._path(folder)) as entries:
                    for entry in entries:
                        _note(entry, folder, found, pending, problems)
            except OSError as exc:
                problem = FileUnreadableError(folder or self.root, exc.strerror or type(exc).__name__)
                if not folder:
                    raise problem from exc
                if exc.errno not in _GONE:
                    problems.append(problem)
            if self._left_out:
                pending = [key for key in pending if key not in self._left_out]
        found.sort(key=lambda file: file.key)
        return Scan({file.key: file for file in found}, problems)

    def is_there(self, key: str) -> bool:
        """Whether anything has this name now, or may have: a folder that cannot be looked into hides it."""
        try:
            os.lstat(self._path(key))
        except ValueError:
            return False
        except OSError as exc:
            return exc.errno not in {*_GONE, errno.ENAMETOOLONG}
        return True

    def blocking_reason(self, key: str) -> str | None:
        """Why no file can be written under this name; symlinks are not followed.

        Returns:
            None where a regular file has the name, or nothing is in the way of one.
        """
        *folders, name = key.split("/")
        if any(len(part.encode()) > _LONGEST_NAME_BYTES for part in (*folders, name)):
            return "a part of its name is too long"
        path = self.root
        try:
            for folder in folders:
                path = f"{path}/{folder}"
                if (taken := _taken(os.lstat(path).st_mode, stat.S_ISDIR, "its folder")) is not None:
                    return taken
            return _taken(os.lstat(f"{path}/{name}").st_mode, stat.S_ISREG, "it")
        except FileNotFoundError:
            return None
        except OSError as exc:
            return exc.strerror or type(exc).__name__

    def find(self, key: str) -> LocalFile | None:
        """The regular file of this name as it is now."""
        try:
            found = os.lstat(self._path(key))
        except (OSError, ValueError):
            return None
        return LocalFile(key, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None

    def etag(self, file: LocalFile) -> str | None:
        """The ETag that its bytes have in a bucket; None when it is no longer what it was.

        Raises:
            FileUnreadableError: It cannot be read.
        """
        try:
            with self._opened(file.key) as descriptor:
                if not file.is_still(os.fstat(descriptor)):
                    return None
                md5s = [_md5_of_next(descriptor, length) for length in self.layout.lengths(file.size_bytes)]
                if not file.is_still(os.fstat(descriptor)):
                    return None
        except FileGoneError:
            return None
        return self.layout.etag(file.size_bytes, md5s)

    def content(self, file: LocalFile) -> bytes:
        """A small file, read once.

        Raises:
            FileGoneError: There is none any more.
            FileChangedError: It changed meanwhile.
            FileUnreadableError: It cannot be read.
        """
        with self._opened(file.key) as descriptor:
            data = _read(descriptor, file.size_bytes)
            if len(data) != file.size_bytes or not file.is_still(os.fstat(descriptor)):
                raise FileChangedError(file.key)
        return data

    def part(self, file: LocalFile, start: int, length: int) -> bytes:
        """Some bytes of a file.

        Raises:
            FileGoneError: There is none any more.
            FileChangedError: It is shorter.
            FileUnreadableError: It cannot be read.
        """
        with self._opened(file.key) as descriptor:
            os.lseek(descriptor, start, os.SEEK_SET)
            data = _read(descriptor, length)
        if len(data) != length:
            raise FileChangedError(file.key)
        return data

    def sha256(self, file: LocalFile) -> str | None:
        """Of its bytes, in hex; None when it is no longer what it was.

        Raises:
            FileUnreadableError: It cannot be read.
        """
        digest = hashlib.sha256()
        try:
            with self._opened(file.key) as descriptor:
                while chunk := os.read(descriptor, _READ_BYTES):
                    digest.update(chunk)
                if not file.is_still(os.fstat(descriptor)):
                    return None
        except FileGoneError:
            return None
        return digest.hexdigest()

    def _path(self, key: str) -> str:
        return f"{self.root}/{key}" if key else self.root

    @contextmanager
    def _opened(self, key: str) -> Generator[int, None, None]:
        """A regular file's descriptor, no symlink on the way to it."""
        path = self._path(key)
        try:
            # Non-blocking: a pipe in its place would hold the thread for ever.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError) as exc:
            if isinstance(exc, ValueError) or exc.errno in _GONE:
                raise FileGoneError(key) from exc
            raise FileUnreadableError(key, exc.strerror or type(exc).__name__) from exc
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FileGoneError(key)
            yield descriptor
        except OSError as exc:
            raise FileUnreadableError(key, exc.strerror or type(exc).__name__) from exc
        finally:
            os.close(descriptor)


def etags(tree: LocalTree, files: Iterable[LocalFile]) -> list[str | KromaError | None]:
    """The ETags of some files, or why one cannot be read."""
    found: list[str | KromaError | None] = []
    for file in files:
        try:
            found.append(tree.etag(file))
        except KromaError as exc:
            found.append(exc)
    return found


def _note(
    entry: "os.DirEntry[str]",
    folder: str,
    found: list[LocalFile],
    folders: list[str],
    problems: list[KromaError],
) -> None:
    is_folder = entry.is_dir(follow_symlinks=False)
    if not is_folder and (not entry.is_file(follow_symlinks=False) or entry.name.startswith(PREFIX)):
        return
    try:
        refuse_undecodable(entry.name)
    except UnusableNameError as exc:
        problems.append(exc)
        return
    key = f"{folder}/{entry.name}" if folder else entry.name
    if is_folder:
        folders.append(key)
        return
    try:
        seen = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return
    found.append(LocalFile(key, seen.st_size, seen.st_mtime_ns))


def _taken(mode: int, is_as_needed: Callable[[int], bool], what: str) -> str | None:
    if is_as_needed(mode):
        return None
    if stat.S_ISLNK(mode):
        return f"a symlink is where {what} should be, and nothing is written through one"
    return f"{'a folder' if stat.S_ISDIR(mode) else 'another file'} is where {what} should be"


def _read(descriptor: int, length: int) -> bytes:
    first = os.read(descriptor, length)
    if len(first) == length:
        return first
    chunks = [first]
    got = len(first)
    # A network file system gives less at a time.
    while chunks[-1] and got < length:
        chunks.append(os.read(descriptor, length - got))
        got += len(chunks[-1])
    return b"".join(chunks)


def _md5_of_next(descriptor: int, length: int) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)
    left = length
    while left and (chunk := os.read(descriptor, min(left, _READ_BYTES))):
        digest.update(chunk)
        left -= len(chunk)
    return digest.digest()
