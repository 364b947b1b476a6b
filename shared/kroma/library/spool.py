"""Where the files of an upload wait until all of them are there: on disk, and gone with the process."""

import asyncio
import errno
import hashlib
import os
import tempfile
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable
from pathlib import Path
from typing import Final, Self

import msgspec

from kroma.imaging.errors import PictureTooLargeError
from kroma.imaging.file_part import FilePart
from kroma.imaging.header import MAX_BYTES
from kroma.storage.files import translated

BLOCK_BYTES: Final = 1024 * 1024
"""Written, hashed and read in one go; what a file holds in memory."""


class Spooled(msgspec.Struct, frozen=True, kw_only=True):
    """A file that has come whole."""

    name: str
    """As it is called in sentences."""
    offset: int
    size_bytes: int
    sha256: str


class Spool:
    """One file without a name for everything that one request brings: a killed process leaves nothing."""

    def __init__(self, folder: Path) -> None:
        """A spool below ``folder``, or where temporary files go if that cannot be written."""
        self._folder = folder
        self._descriptor: int | None = None
        self._is_closed = False
        # A canceled request leaves its thread at work, and another file may have the number by then.
        self._using = threading.Lock()
        self._end = 0

    def close(self) -> None:
        with self._using:
            self._is_closed = True
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def take(
        self, name: str, chunks: AsyncIterable[bytes], *, limit_bytes: int | None = MAX_BYTES
    ) -> Spooled:
        """Write a file as it arrives; only one at a time.

        Raises:
            PictureTooLargeError: It is over the limit, which is that of a picture; the rest is not read.
            StoreFullError: No space is left.
            StoreUnavailableError: There is no place to write to.
        """
        offset, size = self._end, 0
        digest = hashlib.sha256()
        block: list[bytes] = []
        pending = 0
        writing: asyncio.Task[None] | None = None
        try:
            async for chunk in chunks:
                size += len(chunk)
                if limit_bytes is not None and size > limit_bytes:
                    limit = f"{limit_bytes // 1024**2} MiB"
                    raise PictureTooLargeError(name, f"more than {limit}", limit)
                block.append(chunk)
                pending += len(chunk)
                if pending >= BLOCK_BYTES:
                    if writing is not None:
                        await writing
                    # The next block comes while this one is written and hashed.
                    writing = asyncio.create_task(self._write(name, block, digest.update))
                    block, pending = [], 0
        finally:
            if writing is not None:
                await writing
        await self._write(name, block, digest.update)
        return Spooled(name=name, offset=offset, size_bytes=size, sha256=digest.hexdigest())

    async def keep(self, name: str, data: bytes, *, limit_bytes: int | None = MAX_BYTES) -> Spooled:

        async def whole() -> AsyncIterator[bytes]:
            yield data

        return await self.take(name, whole(), limit_bytes=limit_bytes)

    async def read(self, file: Spooled) -> bytes:
        return await asyncio.to_thread(self._read, file.offset, file.size_bytes)

    async def source(self, file: Spooled) -> bytes | FilePart:
        """All of a file, for a picture process: where it lies if that process can open it, else its bytes."""
        return self._part(file) or await self.read(file)

    async def chunks(self, file: Spooled) -> AsyncIterator[bytes]:
        end = file.offset + file.size_bytes
        for offset in range(file.offset, end, BLOCK_BYTES):
            yield await asyncio.to_thread(self._read, offset, min(BLOCK_BYTES, end - offset))

    async def _write(self, name: str, block: list[bytes], hashed: Callable[[bytes], None]) -> None:
        if block:
            await asyncio.to_thread(self._write_block, name, block, hashed)

    def _write_block(self, name: str, block: list[bytes], hashed: Callable[[bytes], None]) -> None:
        data = b"".join(block)
        hashed(data)
        with self._using, translated(name):
            descriptor = self._opened()
            written = 0
            while written < len(data):
                written += os.pwrite(descriptor, memoryview(data)[written:], self._end + written)
        self._end += len(data)

    def _opened(self) -> int:
        if self._is_closed:
            raise OSError(errno.EBADF, "the upload has ended")
        if self._descriptor is None:
            # Temporary files are often kept in memory, so the data directory comes first; in a container
            # without one they are all there is.
            folder = self._folder if os.access(self._folder, os.W_OK | os.X_OK) else None
            with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
                self._descriptor = os.dup(file.fileno())
        return self._descriptor

    def _part(self, file: Spooled) -> FilePart | None:
        with self._using:
            return FilePart.find(self._opened(), offset=file.offset, size_bytes=file.size_bytes)

    def _read(self, offset: int, length: int) -> bytes:
        parts: list[bytes] = []
        with self._using:
            descriptor = self._opened()
            while length and (part := os.pread(descriptor, length, offset)):
                parts.append(part)
                offset, length = offset + len(part), length - len(part)
        return b"".join(parts)
