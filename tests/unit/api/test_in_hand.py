"""How many requests one process works on at a time."""

import asyncio
import json
from typing import Any

import pytest
from litestar.types import Receive, Scope, Send

from kroma_api.in_hand import RequestsInHand

pytestmark = pytest.mark.timeout(20)


class Server:
    """Holds two requests at a time, each until it is let go."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.app = RequestsInHand(self._answer, most=2)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI has it
        await self.let_go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def ask(self, path: str = "/api/projects", **headers: str) -> list[Any]:
        sent: list[Any] = []
        scope = {
            "type": "http",
            "path": path,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, None, send)  # type: ignore[arg-type]
        return sent

    def asked(self, path: str = "/api/projects", **headers: str) -> asyncio.Task[list[Any]]:
        return asyncio.create_task(self.ask(path, **headers))


async def test_one_more_than_fits_is_told_at_once_to_come_back() -> None:
    server = Server()
    held = [server.asked(), server.asked()]
    await asyncio.sleep(0)

    start, body = await server.ask()
    assert start["status"] == 503
    assert (b"retry-after", b"1") in start["headers"]
    assert json.loads(body["body"])["error_code"] == "server_busy"

    server.let_go.set()
    assert [(await task)[0]["status"] for task in held] == [200, 200]
    assert (await server.ask())[0]["status"] == 200


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        pytest.param(
            "/api/projects/a/runs/b/events", {"accept": "text/event-stream"}, id="a reader of events"
        ),
        pytest.param("/api/projects/a/runs/trigger", {"prefer": "wait=60"}, id="who waits for a run"),
        pytest.param("/health/live", {}, id="a probe"),
    ],
)
async def test_what_sits_still_takes_no_place(path: str, headers: dict[str, str]) -> None:
    server = Server()
    waiting = [server.asked(path, **headers) for _ in range(5)]
    await asyncio.sleep(0)
    held = [server.asked(), server.asked()]
    await asyncio.sleep(0)

    assert (await server.ask())[0]["status"] == 503
    waiting.append(server.asked(path, **headers))

    server.let_go.set()
    assert {(await task)[0]["status"] for task in (*waiting, *held)} == {200}
