"""Requests that are answered before their whole body was read."""

import asyncio
from contextlib import suppress
from typing import Any, Final

from litestar.datastructures import MutableScopeHeaders
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

MAX_DISCARDED_BYTES: Final = 64 * 1024
"""The largest body that is read only to be discarded."""
MAX_DISCARD_S: Final = 1.0


class RefusedBodies:
    """Makes sure that clients receive an answer that precedes the end of their body.

    The server closes a connection whose body was not read. Many clients send head and body separately: what
    they send to a closed connection causes a reset, which discards an answer that they have not read yet.
    They would see a broken connection instead of a 401. So the rest of a small body is read and discarded.
    After a larger one the answer says ``Connection: close`` (RFC 9112, 9.6), so that no client sends its next
    request on a connection that is about to close.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        is_complete = False

        async def note_and_receive() -> Any:  # noqa: ANN401 - the server's messages have no common type
            nonlocal is_complete
            message: Any = await receive()
            is_complete = message["type"] != "http.request" or not message["more_body"]
            return message

        async def finish_and_send(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_complete:
                if _is_small(scope):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(MAX_DISCARD_S):
                            while not is_complete:
                                await note_and_receive()
                if not is_complete:
                    MutableScopeHeaders(message)["Connection"] = "close"
            await send(message)

        await self._app(scope, note_and_receive, finish_and_send)


def _has_body(scope: HTTPScope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


def _is_small(scope: HTTPScope) -> bool:
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    is_number = length.isdigit() and len(length) <= len(str(MAX_DISCARDED_BYTES))
    return is_number and int(length) <= MAX_DISCARDED_BYTES
