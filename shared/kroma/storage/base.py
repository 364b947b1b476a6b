"""The store protocol: bytes of one project under keys with forward slashes."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable
from uuid import UUID

import msgspec

from kroma.errors import KromaError


class StoredObject(msgspec.Struct, frozen=True, kw_only=True):
    """What a store knows of one object."""

    key: str
    size_bytes: int
    sha256: str
    """Lower-case hex."""


class ObjectEnds(msgspec.Struct, frozen=True, kw_only=True):
    """The first and last bytes of an object; they overlap when it is short."""

    size_bytes: int
    head: bytes
    tail: bytes


class ListedObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object as a listing shows it."""

    key: str
    size_bytes: int


class ObjectStream(msgspec.Struct, frozen=True, kw_only=True):
    """An object that is being read."""

    size_bytes: int
    """Of the whole object, whatever part of it comes."""
    chunks: AsyncIterator[bytes]
    """Of at most 1 MiB each. Reading raises ``ChecksumMismatchError`` in place of the last one when a whole
    object turns out not to be what was written, and ``StoreUnavailableError`` when the store fails."""


@runtime_checkable
class ObjectStore(Protocol):
    """The files of one project. A put is atomic: all of it is visible, or nothing."""

    @property
    def location(self) -> str:
        """Where the project's files are: an absolute path, or ``s3://bucket/prefix``."""
        ...

    @property
    def backend(self) -> str: ...

    def key_of(self, ref: str) -> str:
        """The key a caller's path means: relative to the project, or absolute inside it.

        Only the text is looked at; a symlink that leads elsewhere is refused by every operation on the key.

        Raises:
            OutsideProjectError: It leads elsewhere, by ``..`` or an absolute path.
            UnusableNameError: It is not UTF-8.
        """
        ...

    def uri(self, key: str) -> str:
        """The address of an object, for ``assets.storage_uri``."""
        ...

    async def put(self, key: str, data: bytes, *, sha256: str | None = None) -> StoredObject:
        """Write an object whole; with ``sha256`` (hex), only if these are the bytes it stands for.

        Raises:
            ChecksumMismatchError: They are not, or the store received others; nothing of them stays.
            StoreFullError: No space is left; nothing of the object stays.
            StoreUnavailableError: The place cannot be written.
        """
        ...

    async def put_stream(
        self, key: str, chunks: AsyncIterable[bytes], *, limit_bytes: int, sha256: str | None = None
    ) -> StoredObject:
        """Write an object as it arrives, in bounded memory; it is visible when all of it is there.

        Whatever ``chunks`` raises comes through, and leaves nothing of the object.

        Raises:
            ObjectTooLargeError: More than ``limit_bytes`` came.
            ChecksumMismatchError: As with ``put``, like the next two.
            StoreFullError: No space is left.
            StoreUnavailableError: The place cannot be written.
        """
        ...

    async def get(self, key: str, *, limit_bytes: int, sha256: str | None = None) -> bytes:
        """Read an object, verified against ``sha256`` (hex) and what the store itself recorded of it.

        Raises:
            ObjectNotFoundError: Nothing has this key.
            ObjectTooLargeError: It is larger than ``limit_bytes``.
            ChecksumMismatchError: The bytes are not what was written.
        """
        ...

    def open_stream(
        self, key: str, *, start: int = 0, length: int | None = None, sha256: str | None = None
    ) -> AbstractAsyncContextManager[ObjectStream]:
        """Read an object piece by piece: all of it, or up to ``length`` bytes from ``start``.

        A whole object is verified as with ``get``. Entering raises what is known before the first byte.

        Raises:
            ObjectNotFoundError: Nothing has this key.
        """
        ...

    async def read_ends(
        self, keys: Sequence[str], *, head_bytes: int, tail_bytes: int
    ) -> list[ObjectEnds | KromaError]:
        """Size, beginning and end of a few objects in one go: enough to tell a picture from a torn one.

        Returns:
            Per key its ends, or the ``ObjectNotFoundError``, ``OutsideProjectError`` or
            ``StoreUnavailableError`` that reading it alone would raise.
        """
        ...

    async def size(self, key: str) -> int | None:
        """Size in bytes, or None when nothing has this key."""
        ...

    async def checksum(self, key: str) -> str | None:
        """SHA-256 (hex) of the bytes as they are now, or None when nothing has this key.

        An object is read for it once and after each change, and not at all where the store recorded it.

        Raises:
            StoreUnavailableError: It cannot be read.
        """
        ...

    async def list_keys(self, prefix: str) -> list[str]:
        """Keys below a folder, each directory's entries by name in byte order, depth first.

        Symlinks are neither followed nor listed; a folder that does not exist has no keys.

        Raises:
            UnusableNameError: A file name below the folder is not UTF-8.
            StoreUnavailableError: A folder cannot be read.
        """
        ...

    def list_objects(self, prefix: str) -> AsyncIterator[ListedObject]:
        """Keys and sizes below a folder, in no order, without all of them in memory.

        Raises:
            UnusableNameError: As with ``list_keys``, like the next.
            StoreUnavailableError: A folder cannot be read.
        """
        ...

    async def is_folder(self, key: str) -> bool:
        """Whether the key names a folder; the empty key is the project itself."""
        ...

    async def move(self, source_key: str, target_key: str) -> None:
        """Rename an object; a missing source is no error when the target is already there.

        Raises:
            ObjectNotFoundError: Neither is there.
        """
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; one that is missing is no error.

        Raises:
            StoreUnavailableError: One cannot be removed; others may be gone.
        """
        ...

    async def check_writable(self) -> None:
        """Create the project's place if it is missing and prove that it can be written.

        Raises:
            StoreUnavailableError: It cannot.
            StoreFullError: There is no space for a single byte.
        """
        ...


class LocalStorage(msgspec.Struct, frozen=True, kw_only=True):
    """Where a project wants its files on a disk."""

    base_dir: str
    project_root: str | None
    """Instead of ``<base_dir>/<slug>``."""


@runtime_checkable
class ProjectStores(Protocol):
    """Finds and opens the store of a project."""

    @property
    def hosted(self) -> bool:
        """Whether all files are in a bucket, so that no path of a host means anything."""
        ...

    @property
    def registers_roots(self) -> bool:
        """Whether the places of projects could overlap, so that each is registered: those on a disk."""
        ...

    def locate(self, *, project_id: UUID, slug: str, storage: LocalStorage | None) -> str:
        """Where a project's files are now, for ``open``; without ``storage``, at the usual place."""
        ...

    def resolve(self, location: str) -> str:
        """How a place is registered as a project's root: where it leads now; blocks.

        Raises:
            RootNotAllowedError: No project may be there.
        """
        ...

    def open(self, location: str, *, real_root: str | None = None) -> ObjectStore:
        """The store at a place that ``locate`` named, now or at the time of a run's trigger.

        Nothing is touched yet: where this installation keeps no projects, every operation of the store
        raises ``RootNotAllowedError``, and where a disk's place leads elsewhere, ``RootMovedError``.

        Args:
            location: The place.
            real_root: What is registered as the project's root; without it a disk's place can be read,
                and whatever writes raises ``RootNotRegisteredError``.
        """
        ...

    def open_own(self, folder: str) -> ObjectStore:
        """A place of the installation itself, which is no project's and can become none."""
        ...
