"""Room for bodies, before an application of the test's own."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient, Response

from kroma.shares import shared_as
from kroma_api.app import route_table
from kroma_api.http.errors import send_error
from kroma_api.middleware.body_budget import BodyBudget

pytestmark = pytest.mark.timeout(20)

KIB = 1024
UPLOAD = "/api/tools/upscale"
JSON = "/api/projects/comic/characters"


class Reader:
    """Reads every body to its end, and keeps it until it may answer."""

    def __init__(self, *, memory_kib: int = 1024, disk_kib: int = 1024, wait_s: float = 0.2) -> None:
        self.may_answer = asyncio.Event()
        self.reading: list[str] = []
        self.budget = BodyBudget(
            self._app,
            route_table(),
            memory_bytes=memory_kib * KIB,
            disk_bytes=disk_kib * KIB,
            wait=timedelta(seconds=wait_s),
        )
        self._client = AsyncClient(transport=ASGITransport(self._known), base_url="http://x")

    async def send(
        self, share: str, body: bytes | AsyncIterator[bytes] = b"", path: str = UPLOAD
    ) -> Response:
        return await self._client.post(path, content=body, headers={"x-share": share})

    def sending(self, share: str, kib: int, path: str = UPLOAD) -> "asyncio.Task[Response]":
        return asyncio.create_task(self.send(share, b"x" * kib * KIB, path))

    async def reads(self, *shares: str) -> None:
        """Wait until these, in any order, have come whole."""
        while sorted(self.reading) != sorted(shares):
            await asyncio.sleep(0.005)

    async def _known(self, scope: Any, receive: Any, send: Any) -> None:
        share = dict(scope["headers"])[b"x-share"].decode()
        with shared_as(share):
            try:
                await self.budget(scope, receive, send)
            except Exception as exc:  # noqa: BLE001 - as the routes do
                await send_error(exc, send)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        more = scope["path"] != "/refused"
        while more:
            more = (await receive())["more_body"]
        self.reading.append(dict(scope["headers"])[b"x-share"].decode())
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def is_busy(response: Response) -> bool:
    found = response.json()
    assert (response.status_code, found["error_code"], response.headers["retry-after"]) == (
        503, "server_busy", "1",
    )  # fmt: skip
    return True


@pytest.mark.parametrize("path", [UPLOAD, "/api/projects/comic/assets"])
async def test_a_caller_that_holds_its_share_waits_and_others_do_not(path: str) -> None:
    reader = Reader()
    first = reader.sending("a", 500, path)
    await reader.reads("a")
    second = reader.sending("a", 500, path)
    other = reader.sending("b", 500, path)
    await reader.reads("a", "b")
    assert is_busy(await second)
    reader.may_answer.set()
    assert {(await first).status_code, (await other).status_code} == {200}


async def test_json_is_refused_where_its_caller_has_its_share_and_others_have_room() -> None:
    reader = Reader()
    first = reader.sending("a", 500, JSON)
    await reader.reads("a")
    assert is_busy(await reader.send("a", b"x" * 500 * KIB, JSON))
    other = reader.sending("b", 200, JSON)
    await reader.reads("a", "b")
    reader.may_answer.set()
    assert {(await first).status_code, (await other).status_code} == {200}


async def test_json_that_is_promised_and_not_sent_takes_no_room() -> None:
    reader = Reader()
    promised = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await promised.wait()

    held = [asyncio.create_task(reader.send(f"token {n % 4}", slow(), JSON)) for n in range(100)]
    await asyncio.sleep(0.05)
    reader.may_answer.set()
    assert (await reader.send("a", b"x" * 500 * KIB, JSON)).status_code == 200
    promised.set()
    await asyncio.gather(*held)


async def test_who_waits_gets_the_room_that_is_given_back() -> None:
    reader = Reader(wait_s=15)
    first, second = reader.sending("a", 500), reader.sending("a", 500)
    await reader.reads("a")
    reader.may_answer.set()
    assert {(await first).status_code, (await second).status_code} == {200}


async def test_json_and_uploads_take_nothing_from_each_other() -> None:
    reader = Reader()
    sends = [reader.sending("a", 500, path) for path in (UPLOAD, JSON)]
    await reader.reads("a", "a")
    reader.may_answer.set()
    await asyncio.gather(*sends)


async def test_a_body_of_unknown_length_is_counted_as_it_comes() -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b"x" * 64 * KIB

    reader = Reader()
    assert is_busy(await reader.send("a", body()))  # 576 KiB are more than its share
    other = reader.sending("a", 500)
    await reader.reads("a")  # what it had was given back
    reader.may_answer.set()
    await other


async def test_what_is_refused_before_its_body_is_read_takes_no_room() -> None:
    reader = Reader()
    refused = [reader.sending("a", 500, "/refused") for _ in range(4)]
    await reader.reads(*"aaaa")
    taken = reader.sending("a", 500, "/api/projects/x/characters")
    await reader.reads(*"aaaaa")
    reader.may_answer.set()
    await asyncio.gather(taken, *refused)


async def test_a_body_that_is_larger_than_any_share_is_left_to_its_route() -> None:
    reader = Reader()
    reader.may_answer.set()
    assert (await reader.send("a", b"x" * 600 * KIB)).status_code == 200


async def test_a_request_without_a_body_takes_no_room() -> None:
    reader = Reader(disk_kib=2)
    reader.may_answer.set()
    answers = await asyncio.gather(*(reader.send("a") for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
