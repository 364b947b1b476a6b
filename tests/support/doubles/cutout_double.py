"""A double of the background services PhotoRoom and remove.bg, in their real wire format.

``POST /photoroom`` wants the header ``x-api-key``, ``POST /removebg`` wants ``X-Api-Key``, both a
multipart form with ``image_file`` and what pipeline.md 5.2 lists. It answers with the picture's left half
on a transparent ground as a PNG, or with what the script says. Every picture that it gives out is billed.
"""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal, NamedTuple

import msgspec
from PIL import Image

FIELDS = {"size", "format", "crop"}
KEY_HEADERS = {"/photoroom": b"x-api-key", "/removebg": b"X-Api-Key"}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong with a call; the default is nothing."""

    status: int | None = None
    headers: dict[str, str] = {}
    body: bytes | None = None
    """Of a 200, or of the status."""
    shape: Literal["same", "tiny", "half", "other", "opaque", "empty", "jpeg"] = "same"
    """What the picture is like that comes back."""
    cut: Literal["before", "after"] | None = None
    """Reset the connection before the body is read, or after billing."""
    delay_s: float = 0.0


class CutoutCall(NamedTuple):
    """One call as it came."""

    path: str
    headers: dict[str, str]
    fields: dict[str, str]
    file: tuple[str, str, bytes]
    """Name, type, bytes."""


class CutoutDouble:
    """Answers by its script, remembers its calls and what it charged for."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.calls: list[CutoutCall] = []
        self.billed = 0
        self.url = ""
        self._connections: set[asyncio.Task[None]] = set()

    def script(self, *faults: Fault) -> None:
        """What happens to the next calls, one each."""
        self.faults = list(faults)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection, in a task that ``close`` waits for."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def close(self) -> None:
        """Drop what is still open."""
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                reply = await self._answer(reader)
                if reply is None:
                    writer.transport.abort()
                else:
                    writer.write(reply)
                    await writer.drain()
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes | None:
        raw = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        method, path, _ = raw[0].decode().split(" ")
        headers = dict(line.decode("latin-1").split(": ", 1) for line in raw[1:])
        named = {name.lower(): value for name, value in headers.items()}
        fault = self.faults.pop(0) if self.faults else Fault()
        if fault.cut == "before":
            return None
        body = await reader.readexactly(int(named.get("content-length", "0")))
        if method != "POST" or path not in KEY_HEADERS:
            return _http(404, b"not here", {})
        call = _parsed(path, named, body)
        self.calls.append(call)
        await asyncio.sleep(fault.delay_s)
        if (refusal := _refusal(call, raw, fault)) is not None:
            return refusal
        self.billed += 1
        if fault.cut == "after":
            return None
        data = _cut_out(call.file[2], fault.shape) if fault.body is None else fault.body
        return _http(200, data, {"Content-Type": "image/png", **fault.headers})


def _refusal(call: CutoutCall, raw: list[bytes], fault: Fault) -> bytes | None:
    """What the real ones would find wrong with a call, else what the script says."""
    if not call.headers.get("x-api-key", "").startswith("good"):
        return _http(403, b'{"errors":[{"title":"API Key invalid","detail":"bad-secret-key"}]}', {})
    has_header = any(line.startswith(KEY_HEADERS[call.path] + b": ") for line in raw[1:])
    if not has_header or set(call.fields) - FIELDS:
        return _http(400, b'{"errors":[{"title":"Bad form"}]}', {})
    if fault.status is not None:
        return _http(fault.status, fault.body or b'{"errors":[{"title":"No"}]}', fault.headers)
    return None


def _cut_out(data: bytes, shape: str) -> bytes:
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    width, height = image.size
    if shape == "opaque":
        return _saved(image.convert("RGB"))
    alpha = Image.new("L", image.size, 0)
    if shape != "empty":
        alpha.paste(255, (0, 0, width // 2, height))
    image.putalpha(alpha)
    sizes = {"tiny": (1, 1), "half": (width // 2, height // 2), "other": (width, height // 3)}
    image = image.resize(sizes.get(shape, image.size))
    return _saved(image.convert("RGB"), "JPEG") if shape == "jpeg" else _saved(image)


def _saved(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _parsed(path: str, headers: dict[str, str], body: bytes) -> CutoutCall:
    boundary = headers["content-type"].partition("boundary=")[2].encode()
    fields: dict[str, str] = {}
    file = ("", "", b"")
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        named = dict(pair.split("=", 1) for pair in lines[0].split("; ") if "=" in pair)
        content = content.removesuffix(b"\r\n")
        if named["name"] == '"image_file"':
            kind = next(line[14:] for line in lines if line.lower().startswith("content-type: "))
            file = (named["filename"].strip('"'), kind, content)
        else:
            fields[named["name"].strip('"')] = content.decode()
    return CutoutCall(path, headers, fields, file)


def _http(status: int, body: bytes, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def served() -> AsyncIterator[CutoutDouble]:
    """Both services on a free port of this machine, at ``url`` + ``/photoroom`` and ``/removebg``."""
    double = CutoutDouble()
    server = await asyncio.start_server(double.accept, "127.0.0.1", 0, limit=1 << 26)
    double.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield double
    finally:
        server.close()
        await double.close()
