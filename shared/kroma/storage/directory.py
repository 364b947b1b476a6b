"""A project's files in a local directory."""

# Descriptors, scandir and real paths have no pathlib form, so this module speaks text throughout.
# ruff: noqa: PTH100, PTH104, PTH108, PTH112, PTH120

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar
from uuid import UUID

from kroma.errors import KromaError
from kroma.storage.base import (
    ListedObject,
    LocalStorage,
    ObjectEnds,
    ObjectStore,
    ObjectStream,
    StoredObject,
)
from kroma.storage.checksums import ChecksumMemory, check_chunks, refuse_other
from kroma.storage.errors import (
    ObjectNotFoundError,
    RootNotRegisteredError,
    StoredElsewhereError,
    StoreUnavailableError,
)
from kroma.storage.files import (
    OpenFile,
    checksum_of,
    make_folder,
    opened,
    path_below,
    read_at,
    read_file,
    translated,
)
from kroma.storage.rechunk import pieces_of
from kroma.storage.references import refuse_undecodable, relative_key
from kroma.storage.roots import PROJECTS, ProjectRoots
from kroma.storage.temp_files import PREFIX, Sweeper, UnfinishedFile, sync_folder

T = TypeVar("T")

DEFAULT_BASE_DIR: Final = "/".join(PROJECTS)
FOLDERS: Final = ("outputs", "runs", "archive/bad")
"""What every run writes to; the other folders of pipeline.md 1.4 come when something is put there."""
_CHUNK_BYTES: Final = 1024**2


class DirectoryStore:
    """Implements ``ObjectStore``; every call that touches the disk does so in a thread."""

    def __init__(
        self,
        root: Path,
        *,
        roots: ProjectRoots | None = None,
        real_root: str | None = None,
        sweeper: Sweeper | None = None,
        memory: ChecksumMemory | None = None,
        elsewhere: str | None = None,
    ) -> None:
        """A store at ``root``, which must lead to ``real_root`` of ``roots`` where these are given.

        Without a ``real_root`` among places, nothing can be written. Where ``elsewhere`` names another
        place, the files are there and every operation refuses.
        """
        self._root = Path(os.path.abspath(root))
        self._elsewhere = elsewhere
        self._roots = roots
        self._registered = real_root
        # What lies in the data directory is for its user alone; what an artist chose is theirs to share.
        self._is_shared = real_root is not None and real_root.startswith("/")
        self._sweeper = sweeper or Sweeper()
        self._memory = memory or ChecksumMemory()

    @property
    def location(self) -> str:
        return self._elsewhere or str(self._root)

    @property
    def backend(self) -> str:
        return "local"

    def key_of(self, ref: str) -> str:
        return relative_key(ref, roots=(str(self._root),))

    def uri(self, key: str) -> str:
        return (self._root / key).as_uri()

    async def put(self, key: str, data: bytes, *, sha256: str | None = None) -> StoredObject:
        return await _to_its_end(self._put, key, data, sha256)

    async def put_stream(
        self, key: str, chunks: AsyncIterable[bytes], *, limit_bytes: int, sha256: str | None = None
    ) -> StoredObject:
        beginning = asyncio.ensure_future(asyncio.to_thread(self._begun, key))
        try:
            path, file = await asyncio.shield(beginning)
            async for piece in pieces_of(chunks, key, limit_bytes=limit_bytes, piece_bytes=_CHUNK_BYTES):
                await asyncio.to_thread(_written, key, file, piece)
            return await asyncio.to_thread(_finished, key, path, file, sha256)
        finally:
            # Shielded: a second cancellation must not keep the file from going away.
            await asyncio.shield(_discard_begun(beginning))

    async def get(self, key: str, *, limit_bytes: int, sha256: str | None = None) -> bytes:
        return await asyncio.to_thread(self._get, key, limit_bytes, sha256)

    @asynccontextmanager
    async def open_stream(
        self, key: str, *, start: int = 0, length: int | None = None, sha256: str | None = None
    ) -> AsyncGenerator[ObjectStream]:
        file = await asyncio.to_thread(lambda: OpenFile(key, self._path(key)))
        try:
            end = file.size_bytes if length is None else min(file.size_bytes, start + length)
            is_whole = (start, end) == (0, file.size_bytes)
            chunks = check_chunks(key, _chunks(file, start, end), sha256 if is_whole else None)
            yield ObjectStream(size_bytes=file.size_bytes, chunks=chunks)
        finally:
            await asyncio.shield(asyncio.to_thread(file.close))

    async def read_ends(
        self, keys: Sequence[str], *, head_bytes: int, tail_bytes: int
    ) -> list[ObjectEnds | KromaError]:
        return await asyncio.to_thread(self._read_ends, keys, head_bytes, tail_bytes)

    async def size(self, key: str) -> int | None:
        return await asyncio.to_thread(self._size, key)

    async def checksum(self, key: str) -> str | None:
        return await asyncio.to_thread(self._checksum, key)

    async def list_keys(self, prefix: str) -> list[str]:
        return await asyncio.to_thread(self._list_keys, prefix)

    async def list_objects(self, prefix: str) -> AsyncGenerator[ListedObject]:
        pending = [relative_key(prefix, roots=())]
        while pending:
            folders, objects = await asyncio.to_thread(self._sized_entries, pending.pop())
            pending += folders
            for found in objects:
                yield found

    async def is_folder(self, key: str) -> bool:
        return await asyncio.to_thread(lambda: os.path.isdir(self._path(key)))

    async def move(self, source_key: str, target_key: str) -> None:
        await _to_its_end(self._move, source_key, target_key)

    async def delete(self, keys: Sequence[str]) -> None:
        await _to_its_end(self._delete, keys)

    async def check_writable(self) -> None:
        await asyncio.to_thread(self._check_writable)

    def _path(self, key: str) -> str:
        """Where a key really is, every symlink followed; inside the root or nowhere."""
        return path_below(self._real_root(), key)

    def _real_root(self) -> str:
        if self._elsewhere is not None:
            raise StoredElsewhereError(self._elsewhere)
        if self._roots is None:
            return os.path.realpath(self._root)
        return self._roots.real_root(str(self._root), self._registered)

    def _writable_root(self) -> str:
        root = self._real_root()
        if self._roots is not None and self._registered is None:
            raise RootNotRegisteredError(str(self._root))
        return root

    def _begun(self, key: str) -> tuple[str, UnfinishedFile]:
        """Where an object will be, and the file it is until then."""
        path = path_below(self._writable_root(), key)
        if os.path.isdir(path):
            raise StoreUnavailableError(key, os.strerror(errno.EISDIR))
        folder = os.path.dirname(path)
        with translated(key):
            make_folder(folder, is_shared=self._is_shared)
            self._sweeper.sweep(folder)
            return path, UnfinishedFile(folder, is_shared=self._is_shared)

    def _put(self, key: str, data: bytes, sha256: str | None) -> StoredObject:
        path, file = self._begun(key)
        try:
            _written(key, file, data)
            return _finished(key, path, file, sha256)
        finally:
            file.discard()

    def _get(self, key: str, limit_bytes: int, sha256: str | None) -> bytes:
        data = read_file(self._path(key), limit_bytes=limit_bytes, name=key)
        if sha256 is not None:
            refuse_other(key, sha256, hashlib.sha256(data).hexdigest())
        return data

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
            with opened(key, self._path(key)) as (_, size):
                return size
        except ObjectNotFoundError:
            return None

    def _checksum(self, key: str) -> str | None:
        try:
            return checksum_of(key, self._path(key), self._memory)
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
        entries = sorted(self._scanned(folder), key=lambda entry: os.fsencode(entry.name))
        return [(_key_in(folder, entry), entry.is_dir(follow_symlinks=False)) for entry in entries]

    def _sized_entries(self, folder: str) -> tuple[list[str], list[ListedObject]]:
        """Folders and files directly below a folder."""
        folders: list[str] = []
        objects: list[ListedObject] = []
        for entry in self._scanned(folder):
            key = _key_in(folder, entry)
            if entry.is_dir(follow_symlinks=False):
                folders.append(key)
                continue
            with suppress(FileNotFoundError):  # gone since the scan
                size = entry.stat(follow_symlinks=False).st_size
                objects.append(ListedObject(key=key, size_bytes=size))
        return folders, objects

    def _scanned(self, folder: str) -> list[os.DirEntry[str]]:
        """What a listing may show of a folder."""
        with translated(folder):
            try:
                with os.scandir(self._path(folder)) as found:
                    entries = [entry for entry in found if _is_shown(entry)]
            except (FileNotFoundError, NotADirectoryError):
                return []
        for entry in entries:
            refuse_undecodable(entry.name)
        return entries

    def _move(self, source_key: str, target_key: str) -> None:
        root = self._writable_root()
        source, target = path_below(root, source_key), path_below(root, target_key)
        source_folder, target_folder = os.path.dirname(source), os.path.dirname(target)
        if not os.path.lexists(source):
            if os.path.lexists(target):
                return
            raise ObjectNotFoundError(source_key)
        with translated(target_key):
            make_folder(target_folder, is_shared=self._is_shared)
            os.rename(source, target)
            for folder in {source_folder, target_folder}:
                sync_folder(folder)

    def _delete(self, keys: Sequence[str]) -> None:
        root = self._writable_root()
        for key in keys:
            # A symlink goes itself, not what it leads to.
            folder, _, name = relative_key(key, roots=()).rpartition("/")
            path = f"{path_below(root, folder)}/{name}"
            with translated(key), suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                os.unlink(path)

    def _check_writable(self) -> None:
        root = self._writable_root()
        with translated(self.location):
            for folder in ("", *FOLDERS):
                path = path_below(root, folder)
                if not os.path.isdir(path):
                    make_folder(path, is_shared=self._is_shared)
                if not os.access(path, os.W_OK | os.X_OK):
                    raise StoreUnavailableError(path, os.strerror(errno.EACCES))
                self._sweeper.sweep(path)
            # Rights alone do not show a read-only mount to root, or a disk without an inode left.
            probe = UnfinishedFile(root, is_shared=self._is_shared)
            try:
                probe.write(b"0")
            finally:
                probe.discard()


class DirectoryStores:
    """Opens project directories below the data directory, or anywhere where that is allowed."""

    def __init__(self, data_dir: Path, *, allow_any_root: bool, kept: Iterable[Path] = ()) -> None:
        """Stores of the projects of a data directory; no project's root contains any of ``kept``."""
        self._data_dir = data_dir
        self._roots = ProjectRoots(data_dir, allow_any_root=allow_any_root, kept=kept)
        self._sweeper = Sweeper()
        self._memory = ChecksumMemory()

    @property
    def hosted(self) -> bool:
        return False

    def locate(self, *, project_id: UUID, slug: str, storage: LocalStorage | None) -> str:  # noqa: ARG002 - a disk goes by slugs
        return str(resolve_root(self._data_dir, slug, storage))

    @property
    def registers_roots(self) -> bool:
        return True

    def resolve(self, location: str) -> str:
        return self._roots.resolve(location)

    def open(self, location: str, *, real_root: str | None = None) -> ObjectStore:
        return DirectoryStore(
            self._data_dir / location,
            roots=self._roots,
            real_root=real_root,
            sweeper=self._sweeper,
            memory=self._memory,
            elsewhere=location if location.startswith("s3://") else None,
        )

    def open_own(self, folder: str) -> ObjectStore:
        return DirectoryStore(self._data_dir / folder, sweeper=self._sweeper, memory=self._memory)


def resolve_root(data_dir: Path, project_slug: str, storage: LocalStorage | None) -> Path:
    """The absolute root of a project (contract 3.4): its explicit root, else ``<base_dir>/<slug>``.

    Relative paths start at the data directory. Symlinks and ``..`` stay as they are stored, since
    the contract echoes paths unchanged; who opens the root checks where it leads.
    """
    if storage is not None and storage.project_root:
        return data_dir / storage.project_root
    base_dir = DEFAULT_BASE_DIR if storage is None else storage.base_dir
    return data_dir / base_dir / project_slug


async def _to_its_end(change: Callable[..., T], *args: object) -> T:
    """Make a change in a thread, and come back only when it is made or refused.

    A thread goes on when its await is canceled, so the change would otherwise come to pass behind the back of
    whoever looks next. A cancellation takes effect after it.
    """
    changing = asyncio.ensure_future(asyncio.to_thread(change, *args))
    try:
        return await asyncio.shield(changing)
    except asyncio.CancelledError:
        await asyncio.wait({changing})
        if not changing.cancelled():
            changing.exception()  # read, so that it is not reported as lost
        raise


async def _discard_begun(beginning: asyncio.Future[tuple[str, UnfinishedFile]]) -> None:
    """Discard the file of a put, also where the put was canceled before it had the file."""
    with suppress(OSError, KromaError):  # there is no file
        _, file = await beginning
        await asyncio.to_thread(file.discard)


def _written(key: str, file: UnfinishedFile, data: bytes) -> None:
    with translated(key):
        file.write(data)


def _finished(key: str, path: str, file: UnfinishedFile, sha256: str | None) -> StoredObject:
    refuse_other(key, sha256, file.sha256)
    with translated(key):
        file.finish(path)
    return StoredObject(key=key, size_bytes=file.size_bytes, sha256=file.sha256)


def _is_shown(entry: os.DirEntry[str]) -> bool:
    if entry.is_dir(follow_symlinks=False):
        return True
    return entry.is_file(follow_symlinks=False) and not entry.name.startswith(PREFIX)


def _key_in(folder: str, entry: os.DirEntry[str]) -> str:
    return f"{folder}/{entry.name}" if folder else entry.name


async def _chunks(file: OpenFile, start: int, end: int) -> AsyncGenerator[bytes]:
    while start < end:
        chunk = await asyncio.to_thread(file.read, start, min(_CHUNK_BYTES, end - start))
        if not chunk:
            raise StoreUnavailableError(file.key, "it was shortened during the read")
        start += len(chunk)
        yield chunk


def _ends(root: str, key: str, head_bytes: int, tail_bytes: int) -> ObjectEnds:
    with opened(key, path_below(root, key)) as (descriptor, size):
        head = read_at(descriptor, 0, min(head_bytes, size))
        if len(head) == size:
            return ObjectEnds(size_bytes=size, head=head, tail=head[-tail_bytes:])
        tail = read_at(descriptor, max(0, size - tail_bytes), tail_bytes)
    return ObjectEnds(size_bytes=size, head=head, tail=tail)
