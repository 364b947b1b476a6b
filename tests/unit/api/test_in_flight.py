"""What becomes of requests in flight when the server stops."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from litestar.types import Receive, Scope, Send
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from kroma.metrics import REGISTRY
from kroma_api.http.errors import ServerStoppedError
from kroma_api.middleware.in_flight import InFlightRequests
from kroma_api.middleware.request_log import RequestLog

pytestmark = pytest.mark.timeout(20)


class Server:
    """Holds each request until it is let go."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.in_hand = InFlightRequests()
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
