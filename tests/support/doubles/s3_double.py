"""A proxy before an S3 server that keeps a record, and misbehaves as a test wants."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import ClientSession, DummyCookieJar, web
from yarl import URL

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-encoding", "expect"})


class Asked(msgspec.Struct, frozen=True):
    """A request that came in."""

    method: str
    path: str
    query: dict[str, str]

    @property
    def part(self) -> int | None:
        """The number of the part that it brings."""
        return int(self.query["partNumber"]) if self.method == "PUT" and "partNumber" in self.query else None


Verdict = web.StreamResponse | None
"""An answer in the server's place; None lets the request through."""
Rule = Callable[[Asked, web.Request], Awaitable[Verdict]]


class S3Double:
    """Lets requests through to a server unless its rule answers them."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.endpoint = ""
        self.asked: list[Asked] = []
        """What has been answered by the server, in order."""
        self.rule: Rule | None = None
        self._session: ClientSession | None = None
        self._moved = asyncio.Condition()

    def puts(self) -> list[str]:
        """The paths of objects that were sent whole."""
        return [asked.path for asked in self.asked if asked.method == "PUT" and not asked.query]

    def parts(self) -> list[int]:
        """The numbers of parts that were sent."""
        return [asked.part for asked in self.asked if asked.part is not None]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for answers of the server that make it true."""
        async with self._moved:
            await self._moved.wait_for(condition)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        asked = Asked(request.method, request.path, dict(request.query))
        body = await request.read()
        if self.rule is not None:
            verdict = await self.rule(asked, request)
            if verdict is not None:
                return verdict
        assert self._session is not None
        url = URL(f"{self.server}{request.raw_path}", encoded=True)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        async with self._session.request(
            request.method,
            URL(url, encoded=True),
            headers=headers,
            data=io.BytesIO(body),
            allow_redirects=False,
        ) as answer:
            data = await answer.read()
            shown = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
            if request.method != "HEAD":
                shown.pop("Content-Length", None)
            async with self._moved:
                self.asked.append(asked)
                self._moved.notify_all()
            return web.Response(status=answer.status, headers=shown, body=data)

    async def open(self) -> None:
        """For requests to the server."""
        self._session = ClientSession(cookie_jar=DummyCookieJar(), auto_decompress=False)

    async def close(self) -> None:
        """Give back connections."""
        if self._session is not None:
            await self._session.close()


def refusal(status: int, code: str) -> web.Response:
    """An error as S3 words it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>"
    return web.Response(status=status, text=body, content_type="application/xml")


def cut(request: web.Request) -> web.Response:
    """Break the connection in the place of an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@asynccontextmanager
async def s3_double(server: str) -> AsyncIterator[S3Double]:
    """A double on a free port."""
    double = S3Double(server)
    app = web.Application(client_max_size=64 * 1024**2)
    app.router.add_route("*", "/{path:.*}", double.handle)
    runner: Any = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await double.open()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    double.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield double
    finally:
        await runner.cleanup()
        await double.close()


async def forever() -> None:
    """Never answers."""
    await asyncio.Event().wait()
