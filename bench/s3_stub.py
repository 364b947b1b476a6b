"""An S3 server that stores no bytes and responds after 20 ms: ``python bench/s3_stub.py`` prints its address.

It stands in for a distant bucket, so that the time beyond waiting is the client's. It remembers the size
and MD5 of objects, as listings show them, and the total size of uploaded parts. It exits when its standard
input closes.
"""

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

LATENCY_S: Final = 0.02
PAGE: Final = 1000


class Bucket:
    """The objects of the only bucket, and the parts of unfinished uploads."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[int, str]] = {}
        self.parts: dict[str, int] = {}

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, dict[str, str], bytes]:  # noqa: PLR0911 - one per kind of request
        """Status, headers and body of a response."""
        split = urlsplit(target)
        _, _, key = unquote(split.path).lstrip("/").partition("/")
        query = {name: values[0] for name, values in parse_qs(split.query, keep_blank_values=True).items()}
        match method, set(query):
            case "PUT", names if "partNumber" in names:
                self.parts[query["uploadId"]] = self.parts.get(query["uploadId"], 0) + len(body)
                return 200, {"ETag": f'"{query["partNumber"]}"'}, b""
            case "PUT", _:
                etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
                self.objects[key] = len(body), etag
                return 200, {"ETag": f'"{etag}"'}, b""
            case "GET", names if "list-type" in names:
                return 200, {}, self.listing(query)
            case "GET", names if "uploads" in names:
                return 200, {}, _xml("ListMultipartUploadsResult", "<IsTruncated>false</IsTruncated>")
            case "POST", names if "uploads" in names:
                return 200, {}, _xml("InitiateMultipartUploadResult", f"<UploadId>{key}</UploadId>")
            case "POST", names if "uploadId" in names:
                self.objects[key] = self.parts.pop(query["uploadId"]), "0-1"
                return 200, {}, _xml("CompleteMultipartUploadResult", '<ETag>"0-1"</ETag>')
            case _:
                return 404, {}, b""

    def listing(self, query: dict[str, str]) -> bytes:
        """A page of the objects below the prefix."""
        keys = sorted(key for key in self.objects if key.startswith(query["prefix"]))
        start = int(query.get("continuation-token", "0"))
        page = keys[start : start + PAGE]
        more = start + PAGE < len(keys)
        shown = "".join(
            f'<Contents><Key>{escape(key)}</Key><ETag>"{self.objects[key][1]}"</ETag>'
            f"<LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>{self.objects[key][0]}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for key in page
        )
        token = f"<NextContinuationToken>{start + PAGE}</NextContinuationToken>" if more else ""
        truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}"
        return _xml("ListBucketResult", f"<KeyCount>{len(page)}</KeyCount>{truncated}{shown}")


def _xml(root: str, inner: str) -> bytes:
    space = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'<?xml version="1.0" encoding="UTF-8"?><{root} xmlns="{space}">{inner}</{root}>'.encode()


async def _serve(bucket: Bucket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
            if headers.get("expect") == "100-continue":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            status, extra, text = bucket.answer(method, target, body)
            await asyncio.sleep(LATENCY_S)
            lines = [f"HTTP/1.1 {status} OK", f"Content-Length: {len(text)}"]
            lines += [f"{name}: {value}" for name, value in extra.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode() + text)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _main() -> None:
    bucket = Bucket()
    server = await asyncio.start_server(lambda r, w: _serve(bucket, r, w), "127.0.0.1", 0, limit=2**20)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextmanager
def running_stub() -> Generator[str]:
    """Start a stub in a separate process; yields its URL."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise AssertionError
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


if __name__ == "__main__":
    asyncio.run(_main())
