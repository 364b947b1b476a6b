"""What becomes of a body that is refused before it was read."""

import asyncio
from contextlib import suppress
from typing import Any, Final

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

MOST_BYTES: Final = 64 * 1024
"""Of a body that is taken although nobody wants it; a larger one costs more than an answer is worth."""
MOST_S: Final = 1.0


class RefusedBodies:
    """Takes the rest of a small body before the answer goes out.

    The server closes a connection whose body was not read. Many clients send head and body apart: what they
    send to a closed connection is answered with a reset, which throws away an answer that they have not read
    yet. They would see a broken connection instead of a 401.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Around whatever answers without reading."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or not _is_small(scope):
            await self._app(scope, receive, send)
            return
        is_whole = False

        async def heard() -> Any:  # noqa: ANN401 - HTTP's half of what a server may give
            nonlocal is_whole
            message: Any = await receive()
            is_whole = message["type"] != "http.request" or not message["more_body"]
            return message

        async def note_and_send(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_whole:
                with suppress(TimeoutError):
                    async with asyncio.timeout(MOST_S):
                        while not is_whole:
                            await heard()
            await send(message)

        await self._app(scope, heard, note_and_send)


def _is_small(scope: HTTPScope) -> bool:
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return length.isdigit() and len(length) <= len(str(MOST_BYTES)) and 0 < int(length) <= MOST_BYTES
