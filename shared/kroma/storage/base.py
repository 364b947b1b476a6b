"""The store protocol: bytes of one project under keys with forward slashes."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

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


@runtime_checkable
class ObjectStore(Protocol):
    """The files of one project. A put is atomic: all of it is visible, or nothing."""

    @property
    def location(self) -> str:
        """Where the project's files are: an absolute path, or ``s3://bucket/prefix``."""
        ...

    @property
    def backend(self) -> str:
        """``local`` or ``s3``, as ``assets.storage_backend`` records it."""
        ...

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

    async def put(self, key: str, data: bytes) -> StoredObject:
        """Write an object whole.

        Raises:
            StoreFullError: No space is left; nothing of the object stays.
            StoreUnavailableError: The place cannot be written.
        """
        ...

    async def get(self, key: str, *, limit_bytes: int) -> bytes:
        """Read an object.

        Raises:
            ObjectNotFoundError: Nothing has this key.
            ObjectTooLargeError: It is larger than ``limit_bytes``.
        """
        ...

    async def get_range(self, key: str, *, start: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``start``; a negative ``start`` counts from the end.

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

    async def list_keys(self, prefix: str) -> list[str]:
        """Keys below a folder, each directory's entries by name in byte order, depth first.

        Symlinks are neither followed nor listed; a folder that does not exist has no keys.

        Raises:
            UnusableNameError: A file name below the folder is not UTF-8.
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

    async def check_writable(self) -> None:
        """Create the project's place if it is missing and prove that it can be written.

        Raises:
            StoreUnavailableError: It cannot.
            StoreFullError: There is no space for a single byte.
        """
        ...


@runtime_checkable
class ProjectStores(Protocol):
    """Opens the store of a project."""

    def open(self, location: str) -> ObjectStore:
        """The store at a project's resolved root.

        Nothing is touched yet: where this installation keeps no projects, every operation of the store
        raises ``RootNotAllowedError``.
        """
        ...
