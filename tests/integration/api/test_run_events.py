"""``GET runs/{id}/events``: item 7 of issue 4."""

import asyncio
import json
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from httpx import AsyncClient
from sqlalchemy import text, update

from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.projects.queries import get_project
from kroma.runs.events import RunWatch, TooManyWatchersError, ends_run, list_events, write_event
from kroma.runs.models import JobStatus, Run, RunJob, RunStatus
from kroma.shares import current_share
from kroma_api.http.event_stream import EventStream
from kroma_api.http.request_slot import REQUEST_SLOT, RequestLimits, RequestSlot
from support.servers.api_process import served, stopped

STREAM = {"Accept": "text/event-stream"}


async def add_run(db: Database, slug: str = "comic") -> Run:
    """A queued run with one queued job: its first event is written by the database."""
    async with db.transaction() as session:
        project = await get_project(session, slug)
        run = Run(project_id=project.id, run_mode="run", plan_json={"x": 1}, created_at=utc_now())
        session.add(run)
        await session.flush()
        session.add(RunJob(run_id=run.id, ordinal=0, job_key="style_1_a"))
    return run


async def notice(db: Database, run_id: UUID, count: int = 1, **data: Any) -> None:
    async with db.transaction() as session:
        for _ in range(count):
            await write_event(session, run_id, "notice", data)


async def move(db: Database, run_id: UUID, *statuses: RunStatus) -> None:
    for status in statuses:
        async with db.transaction() as session:
            await session.execute(update(Run).where(Run.id == run_id).values(status=status))


async def end(db: Database, run_id: UUID) -> None:
    await move(db, run_id, RunStatus.RUNNING, RunStatus.OK)


def parsed(stream: str) -> list[dict[str, Any]]:
    """The events of a stream; each must have an id and a kind that agree with its data."""
    events = []
    for block in stream.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            data = json.loads(fields["data"])
            assert (str(data["id"]), data["kind"]) == (fields["id"], fields["event"])
            events.append(data)
    return events


async def test_every_change_of_a_run_is_listed_in_order(client: AsyncClient, slug: str, db: Database) -> None:
    run = await add_run(db)
    async with db.transaction() as session:
        await session.execute(update(RunJob).values(status=JobStatus.RUNNING, fence=1))
    await notice(db, run.id, step="generate/1")
    await end(db, run.id)
    body = (await client.get(f"/api/projects/{slug}/runs/{run.id}/events")).json()

    assert [(event["id"], event["kind"]) for event in body["events"]] == [
        (1, "run"), (2, "job"), (3, "notice"), (4, "run"), (5, "run"),
    ]  # fmt: skip
    assert body["events"][1]["data"]["status"] == "running"
    assert body["events"][2]["data"] == {"step": "generate/1"}
    assert body["events"][-1]["data"] == {"status": "ok"}
    assert (body["run_id"], body["count"], body["next"]) == (str(run.id), 5, None)


async def test_the_list_goes_on_behind_an_event(client: AsyncClient, slug: str, db: Database) -> None:
    run = await add_run(db)
    await notice(db, run.id, 4)
    path = f"/api/projects/{slug}/runs/{run.id}/events"

    first = (await client.get(path, params={"limit": 2})).json()
    rest = (await client.get(path, params={"after": first["next"]})).json()

    assert [event["id"] for event in first["events"]] == [1, 2]
    assert ([event["id"] for event in rest["events"]], rest["next"]) == ([3, 4, 5], None)
    for after, count in (("-5", 5), ("9" * 40, 0)):
        assert (await client.get(path, params={"after": after})).json()["count"] == count
    assert (await client.get(path, params={"after": "x"})).status_code == 400


@pytest.mark.parametrize("headers", [pytest.param({}, id="list"), pytest.param(STREAM, id="stream")])
@pytest.mark.parametrize("run_id", ["x", "0f2d5c9e-4a7b-4c1d-8e3f-5a6b7c8d9e0f"])
async def test_events_of_an_unknown_run_are_not_found(
    client: AsyncClient, slug: str, run_id: str, headers: dict[str, str]
) -> None:
    response = await client.get(f"/api/projects/{slug}/runs/{run_id}/events", headers=headers)

    assert (response.status_code, response.json()["error"]) == (404, "Run not found")


async def test_a_stream_of_an_ended_run_tells_all_and_ends(
    client: AsyncClient, slug: str, db: Database
) -> None:
    run = await add_run(db)
    await end(db, run.id)
    await notice(db, run.id)
    response = await client.get(f"/api/projects/{slug}/runs/{run.id}/events", headers=STREAM)

    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream"
    assert [event["id"] for event in parsed(response.text)] == [1, 2, 3, 4]


async def test_a_stream_is_replayed_behind_the_last_event_that_was_seen(
    client: AsyncClient, slug: str, db: Database
) -> None:
    run = await add_run(db)
    await end(db, run.id)
    path = f"/api/projects/{slug}/runs/{run.id}/events"

    later = await client.get(path, headers={**STREAM, "Last-Event-ID": "2"}, params={"after": "0"})
    nothing = await client.get(path, headers={**STREAM, "Last-Event-ID": "3"})
    wrong = await client.get(path, headers={**STREAM, "Last-Event-ID": "x"})

    assert [event["id"] for event in parsed(later.text)] == [3]
    assert (nothing.status_code, nothing.content) == (204, b"")
    assert wrong.status_code == 400
    assert "Last-Event-ID" in wrong.json()["error"]


@pytest.mark.usefixtures("slug")
async def test_an_end_is_known_by_its_event(db: Database) -> None:
    run = await add_run(db)
    await end(db, run.id)
    events = await list_events(db, run.id, after=0, limit=10)

    assert [ends_run(event) for event in events] == [False, False, True]


@pytest.mark.timeout(30)
async def test_nothing_looks_at_the_table_while_nobody_watches(fresh_db: Database) -> None:
    watch = RunWatch(fresh_db)
    async with watch.watching(uuid4()) as watcher:
        await watcher.woken.wait()  # the run is not there, so its reader is let go

    assert watcher.is_over
    looking = [task for task in asyncio.all_tasks() if "_look_for_ever" in repr(task)]
    await asyncio.gather(*looking)


async def test_a_process_takes_so_many_readers_and_leaves_some_for_others(db: Database) -> None:
    watch = RunWatch(db, most=2)
    async with watch.watching(uuid4()):
        with pytest.raises(TooManyWatchersError):
            async with watch.watching(uuid4()):
                pass
        token = current_share.set("token:another")
        async with watch.watching(uuid4()):
            pass
        current_share.reset(token)
    async with watch.watching(uuid4()):
        pass


class Live:
    """A served API with a project, and a database beside it."""

    def __init__(self, url: str, db: Database, stop: Callable[[], list[str]]) -> None:
        self.url = url
        self.db = db
        self.stop = stop

    def path(self, run: Run) -> str:
        return f"{self.url}/api/projects/comic/runs/{run.id}/events"


@pytest.fixture
def serving(data_dir: Path, fresh_database_url: str) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    variables = {
        "KROMA_DATABASE_URL": fresh_database_url,
        "KROMA_API_AUTH_DEV_BYPASS": "1",
        "KROMA_EVENTS_HEARTBEAT_S": "0.5",
    }
    with served(data_dir, **variables) as (process, client):
        client.post("/api/projects", json={"name": "Comic"})
        yield str(client.base_url).rstrip("/"), lambda: stopped(process, signal.SIGTERM)
        process.kill()  # most tests do not stop it


@pytest.fixture
async def live(serving: tuple[str, Callable[[], list[str]]], fresh_db: Database) -> Live:
    return Live(serving[0], fresh_db, serving[1])


async def read_until(lines: AsyncIterator[str], pattern: str) -> list[str]:
    read = []
    async for line in lines:
        read.append(line)
        if re.search(pattern, line):
            return read
    pytest.fail(f"the stream ended before {pattern}: {read}")


@pytest.mark.timeout(60)
async def test_a_reader_hears_of_changes_as_they_come_and_of_silence(live: Live) -> None:
    run = await add_run(live.db)
    async with (
        AsyncClient(timeout=20) as client,
        client.stream("GET", live.path(run), headers=STREAM) as response,
    ):
        lines = aiter(response.aiter_lines())
        await read_until(lines, '^data: .*"queued"')
        await read_until(lines, "^: ")
        await notice(live.db, run.id, hello=1)
        await read_until(lines, '^data: .*"hello": ?1')
        await end(live.db, run.id)
        last = [line async for line in lines]

    assert json.loads([line for line in last if line.startswith("data: ")][-1][6:])["data"] == {
        "status": "ok"
    }


@pytest.mark.timeout(60)
async def test_two_hundred_readers_all_see_the_end(live: Live) -> None:
    run = await add_run(live.db)
    limits = httpx.Limits(max_connections=None)
    async with AsyncClient(timeout=40, limits=limits) as client:
        begun = 0
        all_begun = asyncio.Event()

        async def read() -> list[int]:
            nonlocal begun
            async with client.stream("GET", live.path(run), headers=STREAM) as response:
                lines = aiter(response.aiter_lines())
                first = await read_until(lines, "^data: ")
                begun += 1
                if begun == 200:
                    all_begun.set()
                rest = [line async for line in lines]
            return [int(line[4:]) for line in [*first, *rest] if line.startswith("id: ")]

        readers = [asyncio.create_task(read()) for _ in range(200)]
        await all_begun.wait()
        connections = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        async with live.db.transaction() as session:
            held = (await session.execute(text(connections))).scalar_one()
        await end(live.db, run.id)
        seen = await asyncio.gather(*readers)

    assert held < 30
    assert seen == [[1, 2, 3]] * 200


@pytest.mark.timeout(60)
async def test_a_reader_that_never_reads_costs_the_others_nothing(live: Live) -> None:
    run = await add_run(live.db)
    host, _, port = live.url.removeprefix("http://").partition(":")
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        deaf.connect((host, int(port)))
        path = live.path(run).removeprefix(live.url)
        deaf.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n".encode())
        for _ in range(4):
            await notice(live.db, run.id, 100, filler="x" * 10_000)
        async with AsyncClient(timeout=20) as client:
            assert (await client.get(f"{live.url}/health")).status_code == 200
            async with client.stream("GET", live.path(run), headers=STREAM) as response:
                await read_until(aiter(response.aiter_lines()), "^id: 401")
        assert live.stop() is not None  # it ends well, whoever does not read


@pytest.mark.timeout(60)
async def test_a_stopping_server_ends_its_streams(live: Live) -> None:
    run = await add_run(live.db)
    async with (
        AsyncClient(timeout=20) as client,
        client.stream("GET", live.path(run), headers=STREAM) as response,
    ):
        lines = aiter(response.aiter_lines())
        await read_until(lines, "^data: ")
        stopping = asyncio.create_task(asyncio.to_thread(live.stop))
        rest = [line async for line in lines]
        logged = await stopping

    assert not [line for line in rest if line.startswith("data: ")]
    assert not [line for line in logged if '"level":"error"' in line]


@pytest.mark.timeout(30)
@pytest.mark.usefixtures("slug")
async def test_a_reader_that_goes_away_is_noticed(db: Database) -> None:
    run = await add_run(db)
    begun = asyncio.Event()
    sent = []

    async def receive() -> Any:
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        begun.set()

    stream = EventStream(db, RunWatch(db), run.id, after=0, is_done=False, heartbeat=timedelta(minutes=1))
    scope: Any = {"type": "http", REQUEST_SLOT: RequestSlot(RequestLimits(), "")}
    await stream(scope, receive, send)  # it ends

    assert sent[-1]["more_body"] is False
