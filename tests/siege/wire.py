"""Requests as bytes, for what no well-behaved client would send."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from siege.evidence import Answer, Evidence


def request_bytes(
    method: str, path: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
) -> bytes:
    """A request with these headers and no others, not even ``Host``."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


async def opened(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to ``http://host:port``."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def ask(
    address: str,
    data: bytes,
    *,
    evidence: Evidence | None = None,
    timeout_s: float = 20,
    shows_token: bool = False,
) -> Answer:
    """Send bytes and read one answer; status 0 when none comes in time."""
    line = data.split(b"\r\n", 1)[0].decode("latin-1")
    request = line.rpartition(" ")[0]
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await opened(address)
            try:
                writer.write(data)
                answer = await read_answer(reader, request)
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as exc:
        return Answer(request=request, status=0, body=repr(exc).encode())
    return answer if evidence is None else evidence.keep(answer, shows_token=shows_token)


async def read_answer(reader: asyncio.StreamReader, request: str) -> Answer:
    """One answer; of a body without a length, what comes until the other side closes."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    status = int(head[0].split(" ")[1])
    if request.startswith("HEAD") or status in {204, 304}:
        body = b""
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = await reader.read()
    return Answer(request=request, status=status, headers=headers, body=body)
