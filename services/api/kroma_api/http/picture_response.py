"""Pictures as a reply: piece by piece, since one in Base64 inside JSON would be in memory five times."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

import msgspec
from litestar import Response
from litestar.types import Receive, Scope, Send

from kroma_api.http.file_response import send_part

_PIECE_BYTES: Final = 768 * 1024
"""Of a picture; a multiple of three, so that the pieces in Base64 are the whole in Base64."""


class Base64Part:
    """A picture to be sent in Base64."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        return 4 * -(-len(self._data) // 3)

    async def pieces(self) -> AsyncGenerator[bytes]:
        view = memoryview(self._data)
        for start in range(0, len(view), _PIECE_BYTES):
            yield await asyncio.to_thread(b64encode, view[start : start + _PIECE_BYTES])


class InBase64:
    """Where pictures stand in a body that is encoded before they are: a text for each, found again after."""

    def __init__(self, pictures: Sequence[bytes]) -> None:
        self._pictures = pictures
        self.texts = [uuid4().hex for _ in pictures]

    def parts(self, body: object) -> list[bytes | Base64Part]:
        """The body's JSON, cut where the pictures stand."""
        parts: list[bytes | Base64Part] = []
        rest = msgspec.json.encode(body)
        for text, picture in zip(self.texts, self._pictures, strict=True):
            before, _, rest = rest.partition(text.encode())
            parts += [before, Base64Part(picture)]
        return [*parts, rest]


class PictureAnswer(Response[Any]):
    """Sends parts, and gives back what they hold in memory when it is done."""

    def __init__(self, parts: Sequence[bytes | Base64Part], *, media_type: str, held: AsyncExitStack) -> None:
        super().__init__(None, media_type=media_type)
        self._parts = parts
        self._type = media_type
        self._held = held

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:  # noqa: ANN401 - Litestar's reply, or another
        return self._answer

    async def _answer(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        async with self._held:
            headers = [
                (b"content-type", self._type.encode()),
                (b"content-length", b"%d" % sum(map(len, self._parts))),
            ]
            await send({"type": "http.response.start", "status": HTTPStatus.OK.value, "headers": headers})
            try:
                for part in self._parts:
                    async for piece in _pieces(part):
                        await send_part(send, piece)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            except TimeoutError:
                pass  # the reader has stalled; the server closes what is not whole


async def _pieces(part: bytes | Base64Part) -> AsyncGenerator[bytes]:
    if isinstance(part, Base64Part):
        async for piece in part.pieces():
            yield piece
        return
    view = memoryview(part)
    for start in range(0, len(view), _PIECE_BYTES):
        yield bytes(view[start : start + _PIECE_BYTES])
