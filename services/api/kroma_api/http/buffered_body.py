"""A request's body that is read to its end before the application sees it: a large one waits on disk."""

from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any, Final, Self

from litestar.types import Receive

from kroma.library.spool import Spool, Spooled

IN_MEMORY_BYTES: Final = 64 * 1024


class WholeBody:
    """Reads a body to its end, and gives it once more."""

    def __init__(self, receive: Receive, *, at_most: int, folder: Path) -> None:
        """Nothing is read yet.

        Args:
            at_most: A larger body is not read to its end.
            folder: Where a body that is not small waits.
        """
        self._receive = receive
        self._at_most = at_most
        self._spool = Spool(folder)
        self._file: Spooled | None = None
        self._small = b""
        self._left: Any = None
        """The message that said that its sender is gone."""
        self._has_ended = False
        self._again: AsyncGenerator[Any] | None = None
        self.size_bytes = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._again is not None:
            await self._again.aclose()
        self.close()

    def close(self) -> None:
        self._spool.close()

    async def read(self) -> bool:
        """Read it.

        Returns:
            Whether all of it is there; else it is too large, or its sender is gone.

        Raises:
            StoreFullError: There is no space for it.
        """
        parts: list[bytes] = []
        chunks = self._chunks()
        async for chunk in chunks:
            parts.append(chunk)
            if self.size_bytes > IN_MEMORY_BYTES:
                rest = _join(parts, chunks)
                self._file = await self._spool.take("request body", rest, limit_bytes=None)
                return self._is_whole
        self._small = b"".join(parts)
        return self._is_whole

    async def pieces(self) -> AsyncGenerator[bytes]:
        if self._file is None:
            yield self._small
            return
        async for piece in self._spool.chunks(self._file):
            yield piece

    async def again(self) -> Any:  # noqa: ANN401 - HTTP's half of what a server may give
        """What was read, then what comes: the ``receive`` of the application."""
        if self._again is None:
            self._again = self._messages()
        message = await anext(self._again, None)
        return await self._receive() if message is None else message

    async def _messages(self) -> AsyncGenerator[Any]:
        given = 0
        async for piece in self.pieces():
            given += len(piece)
            is_last = self._has_ended and given == self.size_bytes
            yield {"type": "http.request", "body": piece, "more_body": not is_last}
        if self._left is not None:
            yield self._left

    async def _chunks(self) -> AsyncGenerator[bytes]:
        while not self._has_ended and self.size_bytes <= self._at_most:
            message: Any = await self._receive()
            if message["type"] != "http.request":
                self._left = message
                return
            self.size_bytes += len(message["body"])
            self._has_ended = not message["more_body"]
            yield message["body"]

    @property
    def _is_whole(self) -> bool:
        return self._has_ended and self.size_bytes <= self._at_most


async def _join(first: list[bytes], rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    for chunk in first:
        yield chunk
    async for chunk in rest:
        yield chunk
