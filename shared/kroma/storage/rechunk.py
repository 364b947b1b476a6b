"""Cutting what arrives into pieces of one size."""

from collections.abc import AsyncGenerator, AsyncIterable

from kroma.storage.errors import ObjectTooLargeError


async def pieces_of(
    chunks: AsyncIterable[bytes], key: str, *, limit_bytes: int, piece_bytes: int
) -> AsyncGenerator[bytes]:
    """The same bytes in pieces of exactly ``piece_bytes``, the last one shorter; nothing for nothing.

    Raises:
        ObjectTooLargeError: More than ``limit_bytes`` came.
    """
    waiting = bytearray()
    arrived = 0
    async for chunk in chunks:
        arrived += len(chunk)
        if arrived > limit_bytes:
            raise ObjectTooLargeError(key, arrived, limit_bytes)
        waiting += chunk
        while len(waiting) >= piece_bytes:
            yield bytes(waiting[:piece_bytes])
            del waiting[:piece_bytes]
    if waiting:
        yield bytes(waiting)
