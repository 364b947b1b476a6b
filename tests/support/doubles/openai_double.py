"""A double of the paid provider: OpenAI's image edit and model list over real HTTP, with scripted faults.

In a test's event loop::

    async with openai_double.served() as double:
        double.script(Fault(status=429, retry_after="2"), Fault(cut="after"))
        ...  # call double.url + "/images/edits"
        assert len(double.billed) == 1

As a process of its own, for workers in other processes::

    python tests/support/doubles/openai_double.py --port 0 --state billed.jsonl --script faults.json

which prints ``listening on http://127.0.0.1:<port>/v1``. ``faults.json`` is a list of objects with the
fields of ``Fault``. A running double takes a new list with ``POST /double/script``; ``GET /double/state``
answers ``{"calls": 7, "billed": 5, "refused": 1, "in_flight": 0, "peak": 2, "keys": [...]}``.

Each image edit uses up one fault of the list, in order; ``times`` makes a fault last for several,
``null`` in JSON (``None``) for ever, and with a ``chance`` below 1 it is passed over at random (the
double's ``seed`` decides), so that a list of lasting faults with chances is weather. Calls beyond the
list are answered well. A bill is one line in the state file, on the disk before the answer leaves::

    {"idempotency_key": "...", "request_id": "req_...", "model": "gpt-image-1", "size": "1024x1024",
     "quality": "high", "prompt_sha256": "...", "inputs": 2, "key_end": "7f3a", "at": "2026-..."}

The picture is a small PNG of gray blocks that no other call gets; with ``echo`` it is the call's own
first picture (if that is a PNG) with a text chunk that names the call.
"""

import argparse
import asyncio
import base64
import hashlib
import io
import json
import os
import random
import signal
import socket
import struct
import sys
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
from PIL import Image

MODELS = ("gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5")
OUTPUT_TOKENS = {"low": (272, 408, 400), "medium": (1056, 1584, 1568), "high": (4160, 6240, 6208)}
"""Square, portrait, landscape: what OpenAI counts for gpt-image-1."""
SIZES = ("1024x1024", "1024x1536", "1536x1024")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PHRASES = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What goes wrong with a call; the default is nothing."""

    times: int | None = 1
    chance: float = 1.0
    delay_before_s: float = 0.0
    """After the request was read, before it is accepted (billed)."""
    delay_after_s: float = 0.0
    """After it was billed, before the answer."""
    status: int | None = None
    """A clean refusal with this status, not billed; with ``billed``, after billing."""
    billed: bool = False
    """Only with what a gateway says (502, 504, ``html``): OpenAI bills no answer that is an error."""
    retry_after: str | None = None
    error_code: str | None = None
    """``error.code`` of a refusal; None takes what OpenAI says with the status."""
    html: bool = False
    """The refusal is a gateway's page, not JSON."""
    cut: Literal["before", "during", "after", "half"] | None = None
    """Reset the connection before the body is read, amid it, after billing, or amid the answer (billed)."""
    body: (
        Literal[
            "garbage",
            "not_base64",
            "not_an_image",
            "empty",
            "html",
            "nothing",
            "tiny",
            "jpeg",
            "huge",
            "packed",
        ]
        | None
    ) = None
    """What a billed 200 holds: no JSON, no base64, base64 of no picture, no picture at all, a page, no byte,
    one pixel, another format, 100 MB, or 64 MB packed into 64 kB."""
    usage: dict[str, Any] | None = None
    """What a billed 200 states instead of what the call used."""


class EditCall(NamedTuple):
    """One image edit as it came."""

    headers: dict[str, str]
    fields: dict[str, str]
    images: list[tuple[str, str, bytes]]
    """File name, type, bytes."""


class Bill(msgspec.Struct, frozen=True):
    """One image that was charged for."""

    idempotency_key: str
    request_id: str
    model: str
    size: str
    quality: str
    prompt_sha256: str
    inputs: int
    key_end: str
    at: str


def cut_off() -> Exception:
    """What a double raises to reset the connection now."""
    return _Cut()


class _Cut(Exception):  # noqa: N818 - no error: the script says so
    """Reset the connection now."""


class Reply(NamedTuple):
    """An HTTP reply."""

    status: int
    body: bytes
    headers: dict[str, str]
    sent: float = 1.0
    """The share of the body that is sent before the connection is reset."""


class OpenAIDouble:
    """Answers by its script, remembers its calls and what it charged for."""

    def __init__(
        self,
        *,
        state: Path | None = None,
        keys: Sequence[str] | None = None,
        seed: int = 0,
        echo: bool = False,
    ) -> None:
        """Without ``keys``, every bearer token is good but those that begin with ``sk-bad``."""
        self.faults: list[Fault] = []
        self.calls: list[EditCall] = []
        self.checks: list[dict[str, str]] = []
        """Headers of the requests for the list of models."""
        self.billed: list[Bill] = []
        self.refused = 0
        self.in_flight = 0
        self.peak = 0
        self.keys = keys
        self.echo = echo
        self.url = ""
        self.port = 0
        self._state = state
        self._random = random.Random(seed)  # noqa: S311 - weather, no secret
        self._connections: set[asyncio.Task[None]] = set()
        if state is not None and state.exists():
            self.billed = [msgspec.json.decode(line, type=Bill) for line in state.read_bytes().splitlines()]

    def script(self, *faults: Fault) -> None:
        """What happens to the calls from now on."""
        self.faults = list(faults)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection, in a task that ``close`` waits for."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def close(self) -> None:
        """Drop what is still open; a socket left to the garbage collector fails a later test."""
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await asyncio.sleep(0)  # the loop closes sockets in its next round

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, which carries one request."""
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                reply = await self.answer(reader)
                await _send(writer, reply)
        except _Cut:
            _reset(writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def head(self, reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], int]:
        """Method, path, headers by lower-case name, and how long the body is."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
        }
        return method, path, headers, int(headers.get("content-length", "0"))

    async def answer(self, reader: asyncio.StreamReader) -> Reply:
        """What one request is answered."""
        method, path, headers, length = await self.head(reader)
        match method, path:
            case "POST", "/v1/images/edits":
                self.in_flight += 1
                self.peak = max(self.peak, self.in_flight)
                try:
                    return await self._edit(reader, headers, length)
                finally:
                    self.in_flight -= 1
            case "GET", "/v1/models":
                self.checks.append(headers)
                return self._key_refusal(headers) or _json(200, _model_list())
            case "POST", "/double/script":
                self.script(*msgspec.json.decode(await reader.readexactly(length), type=list[Fault]))
                return _json(200, {"ok": True})
            case "GET", "/double/state":
                return _json(200, self._summary())
            case _:
                return _error(404, f"Invalid URL ({method} {path})", code=None)

    async def _edit(self, reader: asyncio.StreamReader, headers: dict[str, str], length: int) -> Reply:
        fault = self.next_fault()
        if fault.cut == "before":
            raise _Cut
        if fault.cut == "during":
            await reader.readexactly(length // 2)
            raise _Cut
        call = read_form(headers, await reader.readexactly(length))
        self.calls.append(call)
        await asyncio.sleep(fault.delay_before_s)
        refusal = self._key_refusal(headers) or _complaint(call)
        if refusal is None and fault.status is not None and not fault.billed:
            refusal = _refusal(fault, fault.status)
        if refusal is not None:
            self.refused += 1
            return refusal
        bill = self._bill(call)
        await asyncio.sleep(fault.delay_after_s)
        if fault.cut == "after":
            raise _Cut
        request_id = {"x-request-id": bill.request_id}
        if fault.status is not None:
            return _refusal(fault, fault.status, **request_id)
        reply = self._picture_reply(call, bill, fault)
        return reply._replace(sent=0.5 if fault.cut == "half" else 1.0, headers=reply.headers | request_id)

    def next_fault(self) -> Fault:
        """The first fault that does not pass this call over, used once more."""
        for index, fault in enumerate(self.faults):
            if fault.chance < 1 and self._random.random() >= fault.chance:
                continue
            if fault.times is not None:
                self.faults[index : index + 1] = (
                    [msgspec.structs.replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                )
            return fault
        return Fault()

    def _key_refusal(self, headers: dict[str, str]) -> Reply | None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        is_good = not key.startswith("sk-bad") if self.keys is None else key in self.keys
        if scheme == "Bearer" and key and is_good:
            return None
        # The real one repeats part of the key, too.
        return _error(401, f"Incorrect API key provided: {key}.", code="invalid_api_key")

    def _bill(self, call: EditCall) -> Bill:
        number = len(self.billed) + 1
        key = call.headers.get("idempotency-key", "")
        bill = Bill(
            idempotency_key=key,
            request_id="req_" + hashlib.sha256(f"{os.getpid()}/{number}/{key}".encode()).hexdigest()[:32],
            model=call.fields["model"],
            size=call.fields.get("size", "auto"),
            quality=call.fields.get("quality", "auto"),
            prompt_sha256=hashlib.sha256(call.fields["prompt"].encode()).hexdigest(),
            inputs=len(call.images),
            key_end=call.headers["authorization"][-4:],
            at=datetime.now(UTC).isoformat(),
        )
        if self._state is not None:
            _append(self._state, msgspec.json.encode(bill) + b"\n")
        self.billed.append(bill)
        return bill

    def _picture_reply(self, call: EditCall, bill: Bill, fault: Fault) -> Reply:
        if fault.body == "garbage":
            return Reply(200, b'{"created": 17639', {"Content-Type": "application/json"})
        if fault.body in {"html", "nothing", "huge"}:
            return Reply(200, unexpected(fault.body), {"Content-Type": "text/html"})
        if fault.body == "packed":
            return Reply(200, _packed(64), {"Content-Type": "application/json", "Content-Encoding": "gzip"})
        picture = unexpected(fault.body) if fault.body in {"tiny", "jpeg"} else self._picture(call, bill)
        b64 = {"not_base64": "&&& no base64 &&&", "not_an_image": base64.b64encode(b"no picture").decode()}
        data = [{"b64_json": b64.get(fault.body or "", base64.b64encode(picture).decode())}]
        body = {
            "created": int(datetime.now(UTC).timestamp()),
            "background": "opaque",
            "output_format": "png",
            "quality": bill.quality,
            "size": bill.size,
            "data": [] if fault.body == "empty" else data,
            "usage": _usage(call) if fault.usage is None else fault.usage,
        }
        return _json(200, body)

    def _picture(self, call: EditCall, bill: Bill) -> bytes:
        name, _, first = call.images[0]
        if self.echo and first.startswith(_SIGNATURE):
            end = first.rindex(b"IEND") - 4
            note = _chunk(b"tEXt", b"call\0" + f"{bill.request_id} {name}".encode())
            return first[:end] + note + first[end:]
        width, height = (int(side) // 8 for side in bill.size.split("x")) if "x" in bill.size else (128, 128)
        return gray_blocks(bill.request_id, width=width, height=height)

    def _summary(self) -> dict[str, Any]:
        return {
            "calls": len(self.calls),
            "billed": len(self.billed),
            "refused": self.refused,
            "in_flight": self.in_flight,
            "peak": self.peak,
            "keys": [bill.idempotency_key for bill in self.billed],
        }


def unexpected(kind: str) -> bytes:
    """What a service may send instead of a picture, or a picture that nobody asked for."""
    match kind:
        case "html":
            return b"<!doctype html><html><body><h1>Welcome to nginx!</h1></body></html>"
        case "tiny":
            return gray_blocks("tiny", width=1, height=1)
        case "jpeg":
            buffer = io.BytesIO()
            Image.linear_gradient("L").save(buffer, format="JPEG")
            return buffer.getvalue()
        case "huge":
            return bytes(101 * 1024**2)
        case _:
            return b""


def _packed(mib: int) -> bytes:
    """So many MiB of nothing, in gzip."""
    packer = zlib.compressobj(wbits=31)
    return b"".join([*(packer.compress(bytes(1024**2)) for _ in range(mib)), packer.flush()])


def gray_blocks(name: str, *, width: int, height: int) -> bytes:
    """A PNG of 8 x 8 blocks in grays that follow from a name."""
    grays = hashlib.sha512(name.encode()).digest()
    row = [bytes(b"\0" + bytes(grays[y * 8 + x * 8 // width] for x in range(width))) for y in range(8)]
    pixels = b"".join(row[y * 8 // height] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        _SIGNATURE
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(pixels, 1))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def read_form(headers: dict[str, str], body: bytes) -> EditCall:
    """The parts of a multipart form."""
    boundary = headers.get("content-type", "").partition("boundary=")[2].strip('"')
    fields: dict[str, str] = {}
    images: list[tuple[str, str, bytes]] = []
    for part in body.split(b"--" + boundary.encode())[1:-1] if boundary else []:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        named = dict(pair.split("=", 1) for pair in lines[0].split("; ") if "=" in pair)
        content = content.removesuffix(b"\r\n")
        name = named["name"].strip('"')
        if "filename" in named:
            mime_type = next((line[14:] for line in lines if line.lower().startswith("content-type: ")), "")
            images.append((named["filename"].strip('"'), mime_type, content))
        else:
            fields[name] = content.decode()
    return EditCall(headers, fields, images)


def _complaint(call: EditCall) -> Reply | None:
    """What the real one would find wrong with a call."""
    fields = call.fields
    types = {mime_type for _, mime_type, _ in call.images}
    wrong = {
        "prompt": not fields.get("prompt", "").strip(),
        "model": fields.get("model") not in MODELS,
        "size": fields.get("size", "auto") not in {*SIZES, "auto"},
        "quality": fields.get("quality", "auto") not in {*OUTPUT_TOKENS, "auto"},
        "image": not 1 <= len(call.images) <= 16 or not types <= {"image/png", "image/jpeg", "image/webp"},
    }
    for param, is_wrong in wrong.items():
        if is_wrong:
            return _error(400, f"Invalid value for '{param}'.", code="invalid_value", param=param)
    return None


def _usage(call: EditCall) -> dict[str, Any]:
    size = call.fields.get("size", "auto")
    shape = SIZES.index(size) if size in SIZES else 0
    output = OUTPUT_TOKENS.get(call.fields.get("quality", "high"), OUTPUT_TOKENS["high"])[shape]
    text, image = len(call.fields["prompt"]) // 4 + 1, 323 * len(call.images)
    return {
        "total_tokens": text + image + output,
        "input_tokens": text + image,
        "output_tokens": output,
        "input_tokens_details": {"text_tokens": text, "image_tokens": image},
    }


def _model_list() -> dict[str, Any]:
    entry = {"object": "model", "created": 1745517030, "owned_by": "system"}
    return {"object": "list", "data": [{"id": model, **entry} for model in MODELS]}


def _json(status: int, body: object, **headers: str) -> Reply:
    return Reply(status, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})


def _error(status: int, message: str, *, code: str | None, param: str | None = None, **headers: str) -> Reply:
    kind = {
        429: "rate_limit_error" if code != "insufficient_quota" else "insufficient_quota",
        500: "server_error",
        503: "server_error",
    }
    error = {
        "message": message,
        "type": kind.get(status, "invalid_request_error"),
        "param": param,
        "code": code,
    }
    request_id = {"x-request-id": "req_refused_" + hashlib.sha256(message.encode()).hexdigest()[:8]}
    return _json(status, {"error": error}, **(request_id | headers))


def _refusal(fault: Fault, status: int, **headers: str) -> Reply:
    if fault.retry_after is not None:
        headers["Retry-After"] = fault.retry_after
    if 300 <= status < 400:
        headers["Location"] = "http://127.0.0.1:9/elsewhere"
    if fault.html:
        page = b"<html><body><h1>Bad gateway</h1></body></html>"
        return Reply(status, page, {"Content-Type": "text/html", **headers})
    codes = {401: "invalid_api_key", 403: "unsupported_country", 429: "rate_limit_exceeded"}
    code = codes.get(status) if fault.error_code is None else fault.error_code
    return _error(status, f"The double refuses with {status}.", code=code, **headers)


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> None:
    lines = [
        f"HTTP/1.1 {reply.status} {_PHRASES.get(reply.status, 'Status')}",
        f"Content-Length: {len(reply.body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in reply.headers.items()),
    ]
    sent = reply.body[: int(len(reply.body) * reply.sent)]
    writer.write("\r\n".join([*lines, "", ""]).encode() + sent)
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of an orderly end."""
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _append(file: Path, line: bytes) -> None:
    """On the disk before it returns; one short write at the end, so that a kill leaves whole lines."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@asynccontextmanager
async def served(double: OpenAIDouble | None = None, *, port: int = 0) -> AsyncIterator[OpenAIDouble]:
    """A double on a port of this machine, a free one unless told."""
    double = double or OpenAIDouble()
    server = await asyncio.start_server(double.accept, "127.0.0.1", port)
    double.port = server.sockets[0].getsockname()[1]
    double.url = f"http://127.0.0.1:{double.port}/v1"
    try:
        yield double
    finally:
        server.close()
        await double.close()


async def _main(arguments: argparse.Namespace) -> None:
    double = OpenAIDouble(state=arguments.state, keys=arguments.key, seed=arguments.seed, echo=arguments.echo)
    if arguments.script is not None:
        double.script(*msgspec.json.decode(arguments.script.read_bytes(), type=list[Fault]))
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with served(double, port=arguments.port):
        sys.stdout.write(f"listening on {double.url}\n")
        sys.stdout.flush()
        await stop.wait()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A double of OpenAI's image edit over HTTP")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--state", type=Path, help="gets one line per billed image; continued if it exists")
    parser.add_argument("--script", type=Path, help="a JSON list of faults")
    parser.add_argument("--seed", type=int, default=0, help="decides faults with a chance")
    parser.add_argument("--key", action="append", help="a good API key; may be repeated")
    parser.add_argument("--echo", action="store_true", help="answer the first input picture, marked")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(_main(_arguments()))
