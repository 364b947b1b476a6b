"""An HTTP client with persistent connections and little overhead."""

import asyncio
from collections.abc import Collection
from typing import Final

import msgspec

TIMEOUT_S: Final = 10.0


class AskingError(Exception):
    """A request got no response, or one with an unexpected status."""


class Answer(msgspec.Struct, frozen=True):
    """A response."""

    status: int
    tag: str
    """Its ``ETag``, or an empty text."""
    body: bytes


class Asker:
    """Uses an idle connection for each request, or opens a new one."""

    def __init__(self, address: str, *, token: str | None = None) -> None:
        host, _, port = address.rpartition("/")[2].partition(":")
        self._host, self._port = host, int(port)
        self._head = f"Host: {host}\r\nAccept: application/json, image/*\r\n" + (
            f"Authorization: Bearer {token}\r\n" if token else ""
        )
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        tag: str | None = None,
        expected: Collection[int] = (200,),
    ) -> Answer:
        """Send a request and read the whole response.

        Raises:
            AskingError: No response came within ten seconds, or its status is unexpected.
        """
        head = f"{method} {path} HTTP/1.1\r\n{self._head}"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        if tag:
            head += f"If-None-Match: {tag}\r\n"
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await self._sent(f"{head}\r\n".encode() + body)
        except (OSError, EOFError, TimeoutError) as exc:
            message = f"{method} {path}: {type(exc).__name__}"
            raise AskingError(message) from exc
        if answer.status not in expected:
            message = f"{method} {path}: {answer.status} {answer.body[:300]!r}"
            raise AskingError(message)
        return answer

    def close(self) -> None:
        """Close idle connections."""
        while self._free:
            self._free.pop()[1].close()

    async def _sent(self, request: bytes) -> Answer:
        reader, writer = self._open_one() or await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(request)
            answer = await _read(reader)
        except BaseException:
            writer.close()
            raise
        self._free.append((reader, writer))
        return answer

    def _open_one(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """An idle connection that the server has not closed, as it does after half a minute."""
        while self._free:
            reader, writer = self._free.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return None


async def _read(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = int(first.split(" ", 2)[1])
    body = b""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while (length := int(await reader.readuntil(b"\r\n"), 16)) > 0:
            body += await reader.readexactly(length)
            await reader.readexactly(2)
        await reader.readexactly(2)
    elif status != 304:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(status, headers.get("etag", ""), body)
