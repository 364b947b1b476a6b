"""A project's files in memory, for tests and for what needs no disk."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from kroma.errors import KromaError
from kroma.storage.base import ListedObject, LocalStorage, ObjectEnds, ObjectStore, ObjectStream, StoredObject
from kroma.storage.checksums import check_chunks, refuse_other
from kroma.storage.errors import ObjectNotFoundError, ObjectTooLargeError, StoreUnavailableError
from kroma.storage.rechunk import pieces_of
from kroma.storage.references import in_listing_order, relative_key

_CHUNK_BYTES: Final = 1024**2


class MemoryStore:
    """Implements ``ObjectStore``; folders exist while something is below them."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._objects: dict[str, bytes] = {}

    @property
    def location(self) -> str:
        return self._location

    @property
    def backend(self) -> str:
        return "local"

    def key_of(self, ref: str) -> str:
        return relative_key(ref, roots=(self._location,))

    def uri(self, key: str) -> str:
        return f"memory://{self._location}/{key}"

    async def put(self, key: str, data: bytes, *, sha256: str | None = None) -> StoredObject:
        self._refuse_folder(key)
        digest = hashlib.sha256(data).hexdigest()
        refuse_other(key, sha256, digest)
        self._objects[key] = bytes(data)
        return StoredObject(key=key, size_bytes=len(data), sha256=digest)

    async def put_stream(
        self, key: str, chunks: AsyncIterable[bytes], *, limit_bytes: int, sha256: str | None = None
    ) -> StoredObject:
        self._refuse_folder(key)
        pieces = pieces_of(chunks, key, limit_bytes=limit_bytes, piece_bytes=_CHUNK_BYTES)
        return await self.put(key, b"".join([piece async for piece in pieces]), sha256=sha256)

    async def get(self, key: str, *, limit_bytes: int, sha256: str | None = None) -> bytes:
        data = self._found(key)
        if len(data) > limit_bytes:
            raise ObjectTooLargeError(key, len(data), limit_bytes)
        refuse_other(key, sha256, hashlib.sha256(data).hexdigest())
        return data

    @asynccontextmanager
    async def open_stream(
        self, key: str, *, start: int = 0, length: int | None = None, sha256: str | None = None
    ) -> AsyncGenerator[ObjectStream]:
        data = self._found(key)
        part = data[start:] if length is None else data[start : start + length]
        expected = sha256 if len(part) == len(data) else None
        yield ObjectStream(size_bytes=len(data), chunks=check_chunks(key, _chunks(part), expected))

    async def read_ends(
        self, keys: Sequence[str], *, head_bytes: int, tail_bytes: int
    ) -> list[ObjectEnds | KromaError]:
        ends: list[ObjectEnds | KromaError] = []
        for key in keys:
            try:
                data = self._found(key)
            except KromaError as exc:
                ends.append(exc)
            else:
                ends.append(ObjectEnds(size_bytes=len(data), head=data[:head_bytes], tail=data[-tail_bytes:]))
        return ends

    async def size(self, key: str) -> int | None:
        data = self._objects.get(relative_key(key, roots=()))
        return None if data is None else len(data)

    async def checksum(self, key: str) -> str | None:
        data = self._objects.get(relative_key(key, roots=()))
        return None if data is None else hashlib.sha256(data).hexdigest()

    async def list_keys(self, prefix: str) -> list[str]:
        folder = relative_key(prefix, roots=())
        below = f"{folder}/" if folder else ""
        return in_listing_order(key for key in self._objects if key.startswith(below))

    async def list_objects(self, prefix: str) -> AsyncGenerator[ListedObject]:
        for key in await self.list_keys(prefix):
            yield ListedObject(key=key, size_bytes=len(self._objects[key]))

    async def is_folder(self, key: str) -> bool:
        folder = relative_key(key, roots=())
        return not folder or self._holds(folder)

    async def move(self, source_key: str, target_key: str) -> None:
        if source_key not in self._objects and target_key in self._objects:
            return
        data = self._found(source_key)
        self._refuse_folder(target_key)
        self._objects[target_key] = data
        if source_key != target_key:
            del self._objects[source_key]

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._objects.pop(relative_key(key, roots=()), None)

    async def check_writable(self) -> None:
        """Memory always is."""

    def _found(self, key: str) -> bytes:
        data = self._objects.get(relative_key(key, roots=()))
        if data is None:
            raise ObjectNotFoundError(key)
        return data

    def _holds(self, folder: str) -> bool:
        return any(key.startswith(f"{folder}/") for key in self._objects)

    def _refuse_folder(self, key: str) -> None:
        """A name is a file or a folder, as on a disk."""
        names = relative_key(key, roots=()).split("/")
        if key in {"", "."} or self._holds(key):
            raise StoreUnavailableError(key, "Is a directory")
        if any("/".join(names[:depth]) in self._objects for depth in range(1, len(names))):
            raise StoreUnavailableError(key, "Not a directory")


class MemoryStores:
    """One store per location, for the life of this object."""

    def __init__(self) -> None:
        self._stores: dict[str, MemoryStore] = {}

    @property
    def hosted(self) -> bool:
        return False

    def locate(self, *, project_id: UUID, slug: str, storage: LocalStorage | None) -> str:  # noqa: ARG002 - all look alike
        return f"/memory/{slug}"

    @property
    def registers_roots(self) -> bool:
        return False

    def resolve(self, location: str) -> str:
        return location

    def open(self, location: str, *, real_root: str | None = None) -> ObjectStore:  # noqa: ARG002 - a disk's
        return self._stores.setdefault(location, MemoryStore(location))

    def open_own(self, folder: str) -> ObjectStore:
        return self.open(f"/own/{folder}")


async def _chunks(data: bytes) -> AsyncGenerator[bytes]:
    for start in range(0, len(data), _CHUNK_BYTES):
        yield data[start : start + _CHUNK_BYTES]
