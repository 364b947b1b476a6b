"""A file as a reply: whole or one range of it, piece by piece at the reader's pace."""

import asyncio
import re
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final, NamedTuple, cast
from urllib.parse import quote

from litestar import Response
from litestar.types import Receive, Scope, Send

from kroma.storage.base import ObjectStore
from kroma.storage.errors import ObjectNotFoundError
from kroma_api.http.errors import HttpRuleError, send_error
from kroma_api.http.scope import IS_HEAD

STALLED_AFTER: Final = timedelta(seconds=60)
"""A reader that takes nothing for so long is let go; it may ask for the rest."""
UNCHANGING: Final = "private, max-age=31536000, immutable"
CHECKED: Final = "private, no-cache"
"""To be asked about with `If-None-Match` each time."""
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Part(NamedTuple):
    """A range of a file."""

    start: int
    length: int


def wanted_part(range_header: str | None, size_bytes: int) -> Part | None:
    """The one range that a header asks for; None is the whole file, as for what is no single range of bytes.

    Raises:
        HttpRuleError: 416, the file has no such bytes.
    """
    match = _RANGE.fullmatch((range_header or "").replace(" ", ""))
    if match is None or match.group(0) == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        start = max(0, size_bytes - int(last))
        end = size_bytes if int(last) else start
    else:
        start = int(first)
        end = min(size_bytes, int(last) + 1) if last else size_bytes
        if last and int(last) < start:
            return None  # RFC 9110, 14.1.1: such a range is to be ignored
    if start >= end:
        raise HttpRuleError(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            f"The file has {size_bytes} bytes; the range '{range_header}' is outside it",
            headers={"Content-Range": f"bytes */{size_bytes}"},
        )
    return Part(start, end - start)


def safe_headers(*, media_type: str, tag: str, cache: str, name: str, download: bool) -> dict[str, str]:
    """Headers under which a browser runs nothing of a stranger's file, whatever it holds."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    kind = "attachment" if download else "inline"
    return {
        "Content-Type": media_type,
        "ETag": tag,
        "Cache-Control": cache,
        "Content-Disposition": f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    }


class FileAnswer(Response[Any]):
    """Streams an object of a store."""

    def __init__(
        self, store: ObjectStore, key: str, *, headers: Mapping[str, str], part: Part | None = None
    ) -> None:
        super().__init__(None)
        self._store = store
        self._key = key
        self._sent_headers = {**headers, "Accept-Ranges": "bytes"}
        self._part = part

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:  # noqa: ANN401 - Litestar's reply, or another
        return self._answer

    async def _answer(self, scope: Scope, _receive: Receive, send: Send) -> None:
        start, length = self._part or (0, None)
        try:
            async with self._store.open_stream(self._key, start=start, length=length) as stream:
                await self._send_start(send, stream.size_bytes)
                if not cast("dict[str, Any]", scope).get(IS_HEAD):
                    async for chunk in stream.chunks:
                        await send_part(send, chunk)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except ObjectNotFoundError as exc:
            await send_error(exc, send)
        except TimeoutError:
            pass  # the reader has stalled; the server closes what is not whole

    async def _send_start(self, send: Send, size_bytes: int) -> None:
        headers = dict(self._sent_headers)
        status, length = HTTPStatus.OK, size_bytes
        if self._part is not None:
            status, length = HTTPStatus.PARTIAL_CONTENT, self._part.length
            last = self._part.start + length - 1
            headers["Content-Range"] = f"bytes {self._part.start}-{last}/{size_bytes}"
        headers["Content-Length"] = str(length)
        encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status.value, "headers": encoded})


async def send_part(send: Send, part: bytes) -> None:
    """Send a part of a body.

    Raises:
        TimeoutError: The reader has stalled.
    """
    async with asyncio.timeout(STALLED_AFTER.total_seconds()):
        await send({"type": "http.response.body", "body": part, "more_body": True})
