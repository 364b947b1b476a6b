"""How many requests one process works on at a time."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from litestar.types import Receive, Scope, Send
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from kroma.metrics import REGISTRY
from kroma_api.errors import ServerStoppedError
from kroma_api.front import RequestLog
from kroma_api.in_hand import RequestsInHand

pytestmark = pytest.mark.timeout(20)


class Server:
    """Holds two requests at a time, each until it is let go."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.in_hand = RequestsInHand(most=2)
        self.app = RequestLog(self.in_hand.around(self._answer))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI has it
        if scope["path"] == "/half":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await self.let_go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def ask(self, path: str = "/api/projects", **headers: str) -> list[Any]:
        sent: list[Any] = []
        scope = {
            "type": "http",
            "method": "GET",
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


def counted(status: str) -> float:
    labels = {"method": "GET", "route": "unknown", "status": status}
    return REGISTRY.get_sample_value("kroma_http_requests_total", labels) or 0


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """What the log says, with the request's id."""
    with capture_logs(processors=[merge_contextvars]) as lines:
        yield lines


def requests(logged: list[Any]) -> list[tuple[str, int]]:
    return [(line["request_id"], line["status"]) for line in logged if line["event"] == "request"]


async def test_a_refusal_has_an_id_a_line_and_a_count(logged: list[Any]) -> None:
    server, before = Server(), counted("503")
    held = [server.asked(), server.asked()]
    await asyncio.sleep(0)

    start, _ = await server.ask(**{"x-request-id": "mine"})

    assert (b"x-request-id", b"mine") in start["headers"]
    assert counted("503") == before + 1
    assert requests(logged) == [("mine", 503)]
    server.let_go.set()
    await asyncio.gather(*held)


async def test_a_request_that_a_stop_ends_has_an_id_a_line_and_a_count(logged: list[Any]) -> None:
    server, before = Server(), counted("500")
    held = server.asked(**{"x-request-id": "held"})
    await asyncio.sleep(0)
    server.in_hand.stop()
    start, _ = await held

    assert start["status"] == 500
    assert (b"x-request-id", b"held") in start["headers"]
    assert counted("500") == before + 1
    assert requests(logged) == [("held", 500)]


async def test_an_answer_that_a_stop_cuts_off_does_not_end_as_if_it_were_whole(logged: list[Any]) -> None:
    server, before = Server(), counted("200")
    held = server.asked("/half", **{"x-request-id": "half"})
    await asyncio.sleep(0)
    server.in_hand.stop()

    with pytest.raises(ServerStoppedError):
        await held
    assert counted("200") == before + 1
    assert requests(logged) == [("half", 200)]


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
