"""Bytes against the SHA-256 they should have."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from kroma.storage.errors import ChecksumMismatchError

_AT_ONCE_BYTES: Final = 256 * 1024
"""Hashed within a fifth of a millisecond; more goes to a thread."""

_MOST_REMEMBERED: Final = 4096


class ChecksumMemory:
    """Checksums that were computed, each good for one version of one object; threads may share it."""

    def __init__(self, *, tick_s: float = 2.0) -> None:
        """An empty memory; ``tick_s`` is the coarsest clock that a file system writes changes by."""
        self.tick_s = tick_s
        self._known: dict[str, tuple[str, str]] = {}

    def get(self, root: str, version: str) -> str | None:
        """The checksum of the object at ``root``, if this very version was read."""
        known_version, sha256 = self._known.get(root, ("", ""))
        return sha256 if known_version == version else None

    def put(self, root: str, version: str, sha256: str) -> None:
        """Remember it in place of an earlier version's."""
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
        self._known[root] = (version, sha256)


def refuse_other(key: str, expected: str | None, actual: str) -> None:
    """Pass only the checksum that is expected, both in hex; without one, any.

    Raises:
        ChecksumMismatchError: It is another.
    """
    if expected is not None and expected.lower() != actual:
        raise ChecksumMismatchError(key)


async def sha256_of(data: bytes) -> str:
    """In hex; a long text does not keep the event loop waiting."""
    if len(data) <= _AT_ONCE_BYTES:
        return hashlib.sha256(data).hexdigest()
    return (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()


async def check_chunks(key: str, chunks: AsyncIterator[bytes], expected: str | None) -> AsyncGenerator[bytes]:
    """The chunks, and an error in place of the last one when they are not what ``expected`` (hex) stands for.

    So damaged bytes never come in full: who counts them sees that some are missing.

    Raises:
        ChecksumMismatchError: They are not.
    """
    if expected is None:
        async for chunk in chunks:
            yield chunk
        return
    digest = hashlib.sha256()
    held: bytes | None = None
    async for chunk in chunks:
        if held is not None:
            yield held
        if len(chunk) <= _AT_ONCE_BYTES:
            digest.update(chunk)
        else:
            await asyncio.to_thread(digest.update, chunk)
        held = chunk
    refuse_other(key, expected, digest.hexdigest())
    if held is not None:
        yield held
