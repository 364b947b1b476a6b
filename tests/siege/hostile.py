"""A server that no client should trust: it redirects, drips, floods, lies, and never ends."""

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec

from support.doubles.openai_double import gray_blocks

ENDLESS_BYTES: Final = 400 * 1024**2
"""What it sends at most: more than an honest service ever would, and more than we may keep."""
_PIECE: Final = b"x" * 65536
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"


class Seen(msgspec.Struct, frozen=True):
    """A request as it came."""

    path: str
    head: str
    """All of it up to the body."""
    body: bytes


class Hostile:
    """Answers by the first segment of the path; the trap beside it should never hear anything."""

    def __init__(self) -> None:
        self.url = ""
        self.trap_url = ""
        self.seen: list[Seen] = []
        self.trapped: list[str] = []
        """What reached an address that nobody allowed."""
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._keep(self._serve(reader, writer))

    def trap(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._keep(self._spring(reader, writer))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _keep(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _spring(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(2):
                line = await reader.readline()
            self.trapped.append(line.decode("latin-1").strip())
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split(" ")[1]
            length = next(
                (int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")),
                0,
            )
            if "expect: 100-continue" in head.lower():
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await reader.readexactly(length) if length else b""
            self.seen.append(Seen(path, head, body))
            mode = path.lstrip("/").partition("/")[0].partition("?")[0]
            await MODES.get(mode, _honest)(self, writer)
            await writer.drain()
        writer.close()


def _move(writer: asyncio.StreamWriter, to: str) -> None:
    writer.write(f"HTTP/1.1 307 Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode())


async def _redirect(server: Hostile, writer: asyncio.StreamWriter) -> None:
    _move(writer, f"{server.trap_url}/internal")


async def _metadata(_: Hostile, writer: asyncio.StreamWriter) -> None:
    _move(writer, "http://169.254.169.254/latest/meta-data")


async def _endless(_: Hostile, writer: asyncio.StreamWriter) -> None:
    writer.write(_HEAD + b"\r\n")
    for _piece in range(ENDLESS_BYTES // len(_PIECE)):
        writer.write(_PIECE)
        await writer.drain()


async def _drip(_: Hostile, writer: asyncio.StreamWriter) -> None:
    writer.write(_HEAD + b"\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.3)


async def _silent(_: Hostile, writer: asyncio.StreamWriter) -> None:
    while not writer.is_closing():
        await asyncio.sleep(0.5)


async def _headers(_: Hostile, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(4000):
        writer.write(b"X-%d: %s\r\n" % (number, b"h" * 16000))
        await writer.drain()
    writer.write(b"\r\n{}")


async def _gzip(_: Hostile, writer: asyncio.StreamWriter) -> None:
    bomb = gzip.compress(bytes(256 * 1024**2), 1)
    writer.write(_HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb)


async def _nested(_: Hostile, writer: asyncio.StreamWriter) -> None:
    body = b"[" * 500_000
    writer.write(_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)


async def _lies(_: Hostile, writer: asyncio.StreamWriter) -> None:
    body = b'{"status": "done", "message": "' + b"\\u001b[31m" * 2000 + b'", "result": 1e999}'
    writer.write(_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)


async def _usage(_: Hostile, writer: asyncio.StreamWriter) -> None:
    await _picture(writer, 10**15)


async def _negative(_: Hostile, writer: asyncio.StreamWriter) -> None:
    await _picture(writer, -(10**15))


async def _picture(writer: asyncio.StreamWriter, tokens: int) -> None:
    """A good picture, and a count of tokens that nobody can have used."""
    picture = base64.b64encode(gray_blocks("usage", width=128, height=192)).decode()
    details = {"text_tokens": tokens, "image_tokens": tokens}
    usage = {
        "input_tokens": tokens,
        "output_tokens": tokens,
        "total_tokens": 2 * tokens,
        "input_tokens_details": details,
        "output_tokens_details": details,
    }
    reply = {"created": 1, "data": [{"b64_json": picture}], "usage": usage, "output_format": "png"}
    body = json.dumps({**reply, "object": "list", "status": "done"}).encode()
    writer.write(_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)


async def _parrot(server: Hostile, writer: asyncio.StreamWriter) -> None:
    """A refusal that repeats everything it was sent."""
    said = {
        "error": {"message": f"Incorrect API key provided: {server.seen[-1].head}", "code": "invalid_api_key"}
    }
    body = json.dumps(said).encode()
    head = _HEAD.replace(b"200 OK", b"401 Unauthorized")
    writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)


async def _mirror(server: Hostile, writer: asyncio.StreamWriter) -> None:
    """A good answer that repeats everything it was sent."""
    seen = server.seen[-1]
    echo = {"head": seen.head, "body": seen.body.decode("utf-8", "replace")}
    reply = {"status": "failed", "message": seen.head, "error": seen.head, "echo": echo, "data": []}
    body = json.dumps(reply).encode()
    writer.write(_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)


async def _honest(_: Hostile, writer: asyncio.StreamWriter) -> None:
    body = json.dumps({"status": "done", "object": "list", "data": [{"id": "gpt-image-1"}]}).encode()
    writer.write(_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)


MODES: Final[dict[str, Callable[[Hostile, asyncio.StreamWriter], Awaitable[None]]]] = {
    "redirect": _redirect,
    "metadata": _metadata,
    "endless": _endless,
    "drip": _drip,
    "silent": _silent,
    "headers": _headers,
    "gzip": _gzip,
    "nested": _nested,
    "lies": _lies,
    "usage": _usage,
    "negative": _negative,
    "parrot": _parrot,
    "mirror": _mirror,
}


@asynccontextmanager
async def served() -> AsyncIterator[Hostile]:
    """On an address that the stack may call, with a trap on one that it may not."""
    hostile = Hostile()
    server = await asyncio.start_server(hostile.accept, "127.0.0.1", 0, limit=1 << 20)
    trap = await asyncio.start_server(hostile.trap, "127.0.0.2", 0)
    hostile.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    hostile.trap_url = f"http://127.0.0.2:{trap.sockets[0].getsockname()[1]}"
    try:
        yield hostile
    finally:
        server.close()
        trap.close()
        await hostile.close()
