"""What every answer tells a browser."""

from typing import Final

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from kroma.browsers import SECURITY_HEADERS

_ALWAYS: Final = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]


class SecurityHeaders:
    """Adds to each answer the headers that it has not set itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = [*message.get("headers", ())]
                names = {name.lower() for name, _ in given}
                message["headers"] = [*given, *(pair for pair in _ALWAYS if pair[0] not in names)]
            await send(message)

        await self._app(scope, receive, send_secured)
