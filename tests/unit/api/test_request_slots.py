"""Where a request is counted, and who is refused when there is no room."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from litestar.types import Receive, Scope, Send

from kroma.shares import ANONYMOUS, current_share
from kroma_api.http.errors import ServerBusyError
from kroma_api.http.request_slot import MAX_ANONYMOUS, RequestLimits, RequestSlot, slot_of
from kroma_api.middleware.request_slots import RequestSlots

pytestmark = pytest.mark.timeout(20)

EVENTS = "/api/projects/a/runs/b/events"
TRIGGER = "/api/projects/a/runs/trigger"
HEADERS = [(b"accept", b"text/event-stream"), (b"prefer", b"wait=60")]


class Served:
    """Reads each request's body to its end, then holds it until it is let go."""

    def __init__(self, limits: RequestLimits) -> None:
        self.limits = limits
        self.let_go = asyncio.Event()
        self.locations: list[RequestSlot] = []
        self._app = RequestSlots(self._answer, limits)

    async def _answer(self, scope: Scope, receive: Receive, _: Send) -> None:
        self.locations.append(slot_of(scope))
        if scope["type"] == "http" and scope["method"] == "POST":
            message: Any = await receive()
            while message["more_body"]:
                message = await receive()
        await self.let_go.wait()

    async def ask(self, share: str, method: str, path: str, *pieces: bytes, is_whole: bool = True) -> None:
        token = current_share.set(share)
        left = [*pieces]

        async def receive() -> Any:
            if not left and not is_whole:
                await asyncio.Event().wait()
            body = left.pop(0) if left else b""
            return {"type": "http.request", "body": body, "more_body": bool(left) or not is_whole}

        async def send(_: Any) -> None:
            pass

        scope: Any = {"type": "http", "method": method, "path": path, "headers": HEADERS}
        try:
            await self._app(scope, receive, send)
        finally:
            current_share.reset(token)

    @asynccontextmanager
    async def held(
        self, count: int, share: str, method: str, path: str, *pieces: bytes, is_whole: bool = True
    ) -> AsyncIterator[None]:
        """So many requests in flight for the block."""
        asking = [
            asyncio.create_task(self.ask(share, method, path, *pieces, is_whole=is_whole))
            for _ in range(count)
        ]
        await asyncio.sleep(0.05)
        assert not [task for task in asking if task.done()]
        try:
            yield
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)


@pytest.mark.parametrize(("method", "path"), [("GET", EVENTS), ("GET", "/api/projects"), ("POST", TRIGGER)])
async def test_no_header_frees_a_request_from_its_place(method: str, path: str) -> None:
    served = Served(RequestLimits(at_work=8))
    async with served.held(4, "a", method, path):
        assert served.limits.at_work.held("a") == 4
        with pytest.raises(ServerBusyError):
            await served.ask("a", method, path)
        async with served.held(2, "b", method, path):
            assert served.limits.at_work.held("b") == 2
    assert served.limits.at_work.held() == 0


async def test_a_body_that_is_still_coming_takes_no_place() -> None:
    served = Served(RequestLimits(at_work=8))
    async with served.held(100, "a", "POST", TRIGGER, b"{", is_whole=False):
        assert (served.limits.at_work.held(), served.limits.received.held("a")) == (0, 100)
        async with served.held(4, "b", "POST", TRIGGER, b"{}"):
            assert served.limits.at_work.held("b") == 4
    assert served.limits.received.held() == 0


async def test_whoever_waits_for_a_run_gives_up_its_place() -> None:
    served = Served(RequestLimits(at_work=8))
    async with served.held(4, "a", "POST", TRIGGER, b"{}"):
        assert all(slot.may_wait() for slot in served.locations)
        assert (served.limits.at_work.held(), served.limits.waiting.held("a")) == (0, 4)
        async with served.held(4, "a", "GET", "/api/projects"):
            pass
    assert served.limits.waiting.held() == 0


async def test_where_too_many_wait_the_next_one_does_not() -> None:
    served = Served(RequestLimits())
    taken = 0
    while served.limits.waiting.take("a"):
        taken += 1
    async with served.held(1, "a", "POST", TRIGGER, b"{}"), served.held(1, "b", "POST", TRIGGER, b"{}"):
        first, second = served.locations
        assert (first.may_wait(), second.may_wait()) == (False, True)
        assert served.limits.at_work.held("a") == 1
    assert served.limits.waiting.held() == taken


@pytest.mark.parametrize("everybody_is_one", [False, True])
async def test_strangers_have_little_unless_no_token_is_asked_for(*, everybody_is_one: bool) -> None:
    served = Served(RequestLimits(everybody_is_one=everybody_is_one))
    async with served.held(MAX_ANONYMOUS, ANONYMOUS, "GET", "/nope"):
        if everybody_is_one:
            async with served.held(1, ANONYMOUS, "GET", "/nope"):
                pass
        else:
            with pytest.raises(ServerBusyError):
                await served.ask(ANONYMOUS, "GET", "/nope")
        async with served.held(MAX_ANONYMOUS * 2, "a", "GET", "/nope"):
            pass


async def test_a_probe_is_answered_when_nothing_else_is() -> None:
    served = Served(RequestLimits(at_work=2))
    async with served.held(1, ANONYMOUS, "GET", "/nope"):
        with pytest.raises(ServerBusyError):
            await served.ask(ANONYMOUS, "GET", "/health/nope")
        async with served.held(100, ANONYMOUS, "GET", "/health"):
            assert served.limits.probes.held() == 100
