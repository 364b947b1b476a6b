"""How a body leaves: as JSON, without what other kinds of replies need."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Response
from litestar.datastructures import ResponseHeader
from litestar.types import Receive, Scope, Send

NO_STORE: Final = ResponseHeader(
    name="Cache-Control", value="no-store", description="Holds or describes a secret: no cache may keep it"
)
"""Declared by routers whose answers hold a secret."""
_encoder: Final = msgspec.json.Encoder()


async def send_json(
    send: Send, body: object, *, status: int, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Answer with a body that msgspec knows to encode."""
    encoded = _encoder.encode(body)
    described = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(encoded)),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": described})
    await send({"type": "http.response.body", "body": encoded, "more_body": False})


class JsonResponse(Response[object]):
    """What becomes of a handler's bare return value.

    Litestar's own response makes room for cookies, background tasks and other media types, which
    takes longer than all the rest of its part in a request. A handler that needs any of it returns
    a ``Response``.
    """

    __slots__ = ("_sent_headers",)

    def __init__(self, content: object, *, status_code: int, **_: object) -> None:
        self.content = content
        self.status_code = status_code
        self._sent_headers: list[tuple[bytes, bytes]] = []

    def to_asgi_response(self, *_: object, headers: Mapping[str, str] | None = None, **__: object) -> Any:  # noqa: ANN401 - an ASGI application
        self._sent_headers = [
            (name.lower().encode(), value.encode()) for name, value in (headers or {}).items()
        ]
        return self._answer

    async def _answer(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        status = self.status_code or HTTPStatus.OK
        await send_json(send, self.content, status=status, headers=self._sent_headers)
