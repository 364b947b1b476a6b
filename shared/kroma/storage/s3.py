"""Projects' files in an S3 bucket."""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final
from uuid import UUID

from kroma.config import S3Access
from kroma.errors import KromaError
from kroma.storage.access import RetryPolicy
from kroma.storage.base import ListedObject, LocalStorage, ObjectEnds, ObjectStore, ObjectStream, StoredObject
from kroma.storage.bucket import Bucket, BucketPart, open_bucket
from kroma.storage.checksums import ChecksumMemory, refuse_other
from kroma.storage.errors import (
    ObjectNotFoundError,
    OutsideProjectError,
    StoredElsewhereError,
    StoreUnavailableError,
)
from kroma.storage.rechunk import pieces_of
from kroma.storage.references import in_listing_order, relative_key
from kroma.storage.temp_files import PREFIX

PART_BYTES: Final = 8 * 1024**2
_COPYABLE_BYTES: Final = 5 * 1024**3
_LONGEST_KEY_BYTES: Final = 1024
_PROBE: Final = f"{PREFIX}probe"
_PROVEN_S: Final = 10.0
"""How long a place counts as writable after it was proved: a trigger asks twice."""
_MOST_PROVEN: Final = 1024

OpenBucket = Callable[[], Awaitable[Bucket]]
"""The bucket, its keys below the project's prefix."""


class S3Store:
    """Implements ``ObjectStore``; a folder is what names below it share, and a name may be both."""

    def __init__(
        self,
        location: str,
        open_bucket: OpenBucket,
        *,
        proven: dict[str, float] | None = None,
        memory: ChecksumMemory | None = None,
    ) -> None:
        """``proven`` says when a location was last found writable, by ``time.monotonic``."""
        self._location = location
        self._open_bucket = open_bucket
        self._proven = {} if proven is None else proven
        self._memory = memory or ChecksumMemory()

    @property
    def location(self) -> str:
        return self._location

    @property
    def backend(self) -> str:
        return "s3"

    def key_of(self, ref: str) -> str:
        if not ref.startswith("s3://"):
            return relative_key(ref, roots=())
        if ref != self._location and not ref.startswith(f"{self._location}/"):
            raise OutsideProjectError(ref)
        return relative_key(ref.removeprefix(self._location).lstrip("/"), roots=())

    def uri(self, key: str) -> str:
        return f"{self._location}/{key}"

    async def put(self, key: str, data: bytes, *, sha256: str | None = None) -> StoredObject:
        key = _writable_key(key)
        bucket = await self._open_bucket()
        stored = await bucket.put(key, data, sha256=sha256)
        return StoredObject(key=key, size_bytes=len(data), sha256=stored.sha256 or "")

    async def put_stream(
        self, key: str, chunks: AsyncIterable[bytes], *, limit_bytes: int, sha256: str | None = None
    ) -> StoredObject:
        key = _writable_key(key)
        bucket = await self._open_bucket()
        pieces = pieces_of(chunks, key, limit_bytes=limit_bytes, piece_bytes=PART_BYTES)
        first = await anext(pieces, b"")
        second = await anext(pieces, None)
        if second is None:
            return await self.put(key, first, sha256=sha256)
        upload = _Upload(bucket, key, await bucket.begin_upload(key, sha256=sha256))
        try:
            await upload.send(first)
            await upload.send(second)
            async for piece in pieces:
                await upload.send(piece)
            return await upload.complete(sha256)
        except BaseException:
            # Shielded: a canceled upload's parts must not stay, nobody sees and somebody pays for them.
            with suppress(KromaError):
                await asyncio.shield(upload.abort())
            raise

    async def get(self, key: str, *, limit_bytes: int, sha256: str | None = None) -> bytes:
        key = _readable_key(key)
        bucket = await self._open_bucket()
        return await bucket.get(key, limit_bytes=limit_bytes, sha256=sha256)

    @asynccontextmanager
    async def open_stream(
        self, key: str, *, start: int = 0, length: int | None = None, sha256: str | None = None
    ) -> AsyncGenerator[ObjectStream]:
        key = _readable_key(key)
        bucket = await self._open_bucket()
        async with bucket.open_stream(key, start=start, length=length, sha256=sha256) as stream:
            yield stream

    async def read_ends(
        self, keys: Sequence[str], *, head_bytes: int, tail_bytes: int
    ) -> list[ObjectEnds | KromaError]:
        found = await asyncio.gather(
            *(self._ends(key, head_bytes, tail_bytes) for key in keys), return_exceptions=True
        )
        ends: list[ObjectEnds | KromaError] = []
        for one in found:
            if isinstance(one, BaseException) and not isinstance(one, KromaError):
                raise one
            ends.append(one)
        return ends

    async def size(self, key: str) -> int | None:
        key = relative_key(key, roots=())
        bucket = await self._open_bucket()
        found = await bucket.head(key) if key else None
        return None if found is None else found.size_bytes

    async def checksum(self, key: str) -> str | None:
        key = relative_key(key, roots=())
        bucket = await self._open_bucket()
        found = await bucket.head(key) if key else None
        if found is None or found.sha256:
            return None if found is None else found.sha256
        # Somebody else put it.
        root, version = self.uri(key), f"{found.etag}-{found.size_bytes}"
        sha256 = self._memory.get(root, version)
        if sha256 is None:
            sha256 = await self._read_checksum(key)
            self._memory.put(root, version, sha256)
        return sha256

    async def list_keys(self, prefix: str) -> list[str]:
        return in_listing_order([found.key async for found in self.list_objects(prefix)])

    async def list_objects(self, prefix: str) -> AsyncGenerator[ListedObject]:
        folder = relative_key(prefix, roots=())
        bucket = await self._open_bucket()
        async for found in bucket.list_objects(f"{folder}/" if folder else ""):
            if _is_shown(found.key):
                yield ListedObject(key=found.key, size_bytes=found.size_bytes)

    async def is_folder(self, key: str) -> bool:
        folder = relative_key(key, roots=())
        bucket = await self._open_bucket()
        return not folder or await bucket.has_any(f"{folder}/")

    async def move(self, source_key: str, target_key: str) -> None:
        source, target = _readable_key(source_key), _writable_key(target_key)
        bucket = await self._open_bucket()
        try:
            if source != target:
                await bucket.copy(source, target)
                # A move that is cut off here is made again whole: the copy is the same.
                await bucket.delete([source])
                return
        except ObjectNotFoundError:
            pass
        if await bucket.head(target) is None:
            raise ObjectNotFoundError(source_key)

    async def delete(self, keys: Sequence[str]) -> None:
        named = [key for key in (relative_key(key, roots=()) for key in keys) if key]
        bucket = await self._open_bucket()
        await bucket.delete(named)

    async def check_writable(self) -> None:
        bucket = await self._open_bucket()
        if time.monotonic() - self._proven.get(self._location, -_PROVEN_S) < _PROVEN_S:
            return
        await bucket.put(_PROBE, b"0")
        await bucket.delete([_PROBE])
        if len(self._proven) >= _MOST_PROVEN:
            self._proven.clear()
        self._proven[self._location] = time.monotonic()

    async def _read_checksum(self, key: str) -> str:
        digest = hashlib.sha256()
        async with self.open_stream(key) as stream:
            async for chunk in stream.chunks:
                await asyncio.to_thread(digest.update, chunk)
        return digest.hexdigest()

    async def _ends(self, key: str, head_bytes: int, tail_bytes: int) -> ObjectEnds:
        (size, head), (_, tail) = await asyncio.gather(
            self._read_range(key, 0, head_bytes), self._read_range(key, -tail_bytes, tail_bytes)
        )
        return ObjectEnds(size_bytes=size, head=head, tail=tail)

    async def _read_range(self, key: str, start: int, length: int) -> tuple[int, bytes]:
        async with self.open_stream(key, start=start, length=length) as stream:
            return stream.size_bytes, b"".join([chunk async for chunk in stream.chunks])


class S3Stores:
    """Opens projects below one prefix of one bucket, with one client for the life of this object."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        access: S3Access,
        *,
        connections: int = 50,
        retry_policy: RetryPolicy | None = None,
    ) -> None:
        """The client opens with ``prepare`` or the first request, in that event loop; ``close`` ends it."""
        self._name = bucket
        self._prefix = prefix.strip("/")
        self._access = access
        self._connections = connections
        self._retry_policy = retry_policy
        self._proven: dict[str, float] = {}
        self._memory = ChecksumMemory()
        self._exits = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._bucket: Bucket | None = None

    @property
    def hosted(self) -> bool:
        return True

    def locate(self, *, project_id: UUID, slug: str, storage: LocalStorage | None) -> str:  # noqa: ARG002 - a disk's
        return f"s3://{self._name}/{self._prefix}/{project_id}"

    @property
    def registers_roots(self) -> bool:
        return False  # they are apart by their ids

    def resolve(self, location: str) -> str:
        return location

    def open(self, location: str, *, real_root: str | None = None) -> ObjectStore:  # noqa: ARG002 - a disk's
        async def open_bucket() -> Bucket:
            # Of an earlier prefix, too: a run keeps the place it was triggered with.
            below = location.removeprefix(f"s3://{self._name}/")
            if below == location:
                raise StoredElsewhereError(location)
            return (await self._open_bucket()).below(f"{below}/")

        return S3Store(location, open_bucket, proven=self._proven, memory=self._memory)

    def open_own(self, folder: str) -> ObjectStore:
        # Projects go by their ids, and none begins with an underscore.
        return self.open(f"s3://{self._name}/{self._prefix}/_{folder}")

    async def prepare(self) -> None:
        """Make the client now: that holds the event loop up for a tenth of a second or more.

        Raises:
            StoreCredentialsError: The profile does not exist or cannot be used.
        """
        await self._open_bucket()

    async def close(self) -> None:
        """Give back the connections."""
        await self._exits.aclose()

    async def _open_bucket(self) -> Bucket:
        async with self._opening:
            if self._bucket is None:
                opening = open_bucket(
                    self._name,
                    self._access,
                    guard=None,  # the operator's own address
                    connections=self._connections,
                    retry_policy=self._retry_policy,
                )
                self._bucket = await self._exits.enter_async_context(opening)
            return self._bucket


class _Upload:
    """An object that is sent in parts."""

    def __init__(self, bucket: Bucket, key: str, upload_id: str) -> None:
        self._bucket = bucket
        self._key = key
        self._upload_id = upload_id
        self._digest = hashlib.sha256()
        self._size_bytes = 0
        self._parts: list[BucketPart] = []

    async def send(self, piece: bytes) -> None:
        await asyncio.to_thread(self._digest.update, piece)
        self._size_bytes += len(piece)
        number = len(self._parts) + 1
        etag = await self._bucket.put_part(self._key, self._upload_id, number, piece)
        self._parts.append(BucketPart(number=number, etag=etag))

    async def complete(self, expected: str | None) -> StoredObject:
        sha256 = self._digest.hexdigest()
        refuse_other(self._key, expected, sha256)
        await self._bucket.complete_upload(self._key, self._upload_id, self._parts)
        if expected is None and self._size_bytes <= _COPYABLE_BYTES:
            # What an upload in parts records is fixed when it begins; only a copy can add to it.
            await self._bucket.copy(self._key, self._key, sha256=sha256)
        return StoredObject(key=self._key, size_bytes=self._size_bytes, sha256=sha256)

    async def abort(self) -> None:
        await self._bucket.abort_upload(self._key, self._upload_id)


def _readable_key(key: str) -> str:
    name = relative_key(key, roots=())
    if not name:
        raise ObjectNotFoundError(key)
    return name


def _writable_key(key: str) -> str:
    name = relative_key(key, roots=())
    if name and len(name.encode()) <= _LONGEST_KEY_BYTES:
        return name
    error = StoreUnavailableError(key, "File name too long" if name else "Is a directory")
    error.retryable = False
    raise error


def _is_shown(key: str) -> bool:
    """Whether a key in the bucket is one that a path can mean; others may have put what they like there."""
    try:
        return relative_key(key, roots=()) == key and not key.rpartition("/")[2].startswith(PREFIX)
    except KromaError:
        return False
