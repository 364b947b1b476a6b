"""``Idempotency-Key``: item 6 of issue 4."""

import asyncio
import hmac
import os
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from httpx import ASGITransport, AsyncClient
from sqlalchemy import func, select, text, update

from kroma.audit.models import AuditEvent
from kroma.auth.caller import Caller
from kroma.auth.models import ApiToken
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.idempotency.answers import sweep_files
from kroma.idempotency.models import IdempotencyKey
from kroma.idempotency.service import FILES_OF_ONE_BYTES, FORGOTTEN_AT_ONCE, KEPT, forget_expired
from kroma.project_texts.models import Character
from kroma.storage.base import ObjectStore
from kroma.storage.directory import DirectoryStores
from kroma_api.app import route_table, routes
from kroma_api.middleware.idempotency import IdempotencyKeys
from kroma_api.route_facts import Idempotency, documented_routes
from support.doubles.memory_store import MemoryStores
from support.harness.documented_api import api_document

KEY = {"Idempotency-Key": "a-1"}
PATH = "/api/projects/comic/characters"


async def records(db: Database) -> list[IdempotencyKey]:
    async with db.transaction() as session:
        return list(await session.scalars(select(IdempotencyKey)))


async def count(db: Database, model: Any) -> int:
    async with db.transaction() as session:
        return (await session.execute(select(func.count()).select_from(model))).scalar_one()


async def age(db: Database, **columns: Any) -> None:
    async with db.transaction() as session:
        await session.execute(update(IdempotencyKey).values(**columns))


def test_a_key_counts_for_every_post_but_those_that_repeat_by_themselves() -> None:
    posts = {path: facts for (method, path), facts in documented_routes(routes()).items() if method == "POST"}

    assert {path for path, facts in posts.items() if not facts.idempotency.takes_key} == {
        "/api/projects/{slug}/runs/validate-config",
        "/api/projects/{slug}/runs/quote",
        "/api/projects/{slug}/provider-accounts/{provider_code}/check",
        "/agent/callback/{instruction_id}",
        "/api/projects/{slug}/assets",
    }
    assert {path for path, facts in posts.items() if facts.idempotency is Idempotency.SECRET} == {
        "/auth/token"
    }


def test_the_document_describes_the_header_wherever_it_counts() -> None:
    described = api_document()["paths"]
    facts = documented_routes(routes())

    for path, item in described.items():
        for method, operation in item.items():
            names = {parameter["name"] for parameter in operation.get("parameters", ())}
            takes_key = facts[method.upper(), path].idempotency.takes_key
            assert ("Idempotency-Key" in names) is takes_key, path
            assert ("409" in operation["responses"]) or not takes_key, path


@pytest.mark.usefixtures("slug")
async def test_the_same_request_is_answered_again_and_changes_nothing(
    client: AsyncClient, db: Database
) -> None:
    first = await client.post(PATH, json={"name": "Mara"}, headers=KEY)
    again = await client.post(PATH, json={"name": "Mara"}, headers=KEY)

    assert first.status_code == again.status_code == 200
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.content == first.content
    assert await count(db, Character) == 1
    assert first.headers["x-request-id"] != again.headers["x-request-id"]


@pytest.mark.usefixtures("root")
async def test_a_trigger_is_answered_again_with_its_address(client: AsyncClient, slug: str) -> None:
    path = f"/api/projects/{slug}/runs/trigger"
    first = await client.post(path, json={"input": "scenes"}, headers=KEY)
    again = await client.post(path, json={"input": "scenes"}, headers=KEY)

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    for name in ("location", "retry-after", "content-type"):
        assert again.headers[name] == first.headers[name]
    assert (await client.get(f"/api/projects/{slug}/runs")).json()["count"] == 1


@pytest.mark.usefixtures("slug")
async def test_another_body_or_query_with_the_key_is_refused(client: AsyncClient, db: Database) -> None:
    await client.post(PATH, json={"name": "Mara"}, headers=KEY)

    for path, body in ((PATH, {"name": "Ole"}), (f"{PATH}?x=1", {"name": "Mara"})):
        refused = await client.post(path, json=body, headers=KEY)
        assert refused.status_code == 422
        assert refused.json()["error_kind"] == "validation"
        assert refused.json()["error_code"] == "idempotency_key_reused"
    assert await count(db, Character) == 1


@pytest.mark.usefixtures("slug")
async def test_a_key_counts_for_one_path(client: AsyncClient) -> None:
    await client.post(PATH, json={"name": "Mara"}, headers=KEY)
    other = await client.post(
        "/api/projects/comic/style-guides", json={"name": "Mara", "instructions": "x"}, headers=KEY
    )

    assert (other.status_code, "idempotent-replayed" in other.headers) == (200, False)


async def test_a_key_counts_for_one_token(auth_client: AsyncClient) -> None:
    async def token(bearer: str | None = None) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        made = await auth_client.post("/auth/token", json={}, headers=headers)
        return {"Authorization": f"Bearer {made.json()['auth_token']['token']}"}

    first = await token()
    second = await token(first["Authorization"].removeprefix("Bearer "))
    await auth_client.post("/api/projects", json={"name": "Comic"}, headers={**first, **KEY})
    other = await auth_client.post("/api/projects", json={"name": "Comic 2"}, headers={**second, **KEY})
    again = await auth_client.post("/api/projects", json={"name": "Comic 2"}, headers={**second, **KEY})

    assert (other.status_code, "idempotent-replayed" in other.headers) == (200, False)
    assert again.headers["idempotent-replayed"] == "true"


async def test_a_token_is_not_shown_again(client: AsyncClient, db: Database) -> None:
    made = await client.post("/auth/token", json={}, headers=KEY)
    again = await client.post("/auth/token", json={}, headers=KEY)

    assert (made.status_code, again.status_code) == (200, 409)
    assert again.json()["error_code"] == "answer_not_kept"
    (record,) = await records(db)
    assert record.body is None
    assert await count(db, ApiToken) == 1


@pytest.mark.usefixtures("slug")
async def test_a_refusal_is_answered_again_too(client: AsyncClient) -> None:
    first = await client.post(PATH, json={"name": ""}, headers=KEY)
    again = await client.post(PATH, json={"name": ""}, headers=KEY)

    assert (first.status_code, again.status_code) == (400, 400)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param([""], id="empty"),
        pytest.param(["x" * 256], id="too long"),
        pytest.param(["a b"], id="a space"),
        pytest.param(["clé".encode()], id="not ASCII"),
        pytest.param(["a\tb"], id="a control character"),
        pytest.param(["a", "b"], id="two"),
    ],
)
@pytest.mark.usefixtures("slug")
async def test_what_is_no_key_is_refused_by_name(
    client: AsyncClient, db: Database, keys: list[str | bytes]
) -> None:
    headers = [("Idempotency-Key", key) for key in keys]
    refused = await client.post(PATH, json={"name": "Mara"}, headers=headers)

    assert refused.status_code == 400
    assert "Idempotency-Key" in refused.json()["error"]
    assert await count(db, Character) == 0


@pytest.mark.usefixtures("slug")
async def test_the_longest_key_is_one(client: AsyncClient) -> None:
    for replayed in (False, True):
        answer = await client.post(PATH, json={"name": "Mara"}, headers={"Idempotency-Key": "~" * 255})
        assert ("idempotent-replayed" in answer.headers) is replayed


@pytest.mark.usefixtures("slug")
async def test_a_path_of_any_length_takes_a_key(client: AsyncClient) -> None:
    path = f"/api/projects/{'x' * 5000}/characters"
    for name, status in (("Mara", 404), ("Mara", 404), ("Ole", 422)):
        assert (await client.post(path, json={"name": name}, headers=KEY)).status_code == status


@pytest.mark.usefixtures("slug")
async def test_a_read_and_a_body_too_large_leave_no_record(client: AsyncClient, db: Database) -> None:
    checked = await client.post("/api/projects/comic/runs/validate-config", json={}, headers=KEY)
    large = await client.post(PATH, content=b"x" * 2_200_000, headers=KEY)
    missing = await client.post("/api/projects/comic/nothing", json={}, headers=KEY)

    assert (checked.status_code, large.status_code, missing.status_code) == (200, 413, 404)
    assert await records(db) == []


@pytest.mark.usefixtures("slug")
async def test_a_key_is_free_again_after_seven_days(client: AsyncClient, db: Database) -> None:
    await client.post(PATH, json={"name": "Mara"}, headers=KEY)
    (record,) = await records(db)
    assert record.expires_at - record.created_at == pytest.approx(KEPT, abs=timedelta(seconds=1))

    await age(db, expires_at=utc_now() - timedelta(seconds=1))
    other = await client.post(PATH, json={"name": "Ole"}, headers=KEY)

    assert (other.status_code, "idempotent-replayed" in other.headers) == (200, False)


async def test_expired_records_are_forgotten_a_few_at_a_time(db: Database) -> None:
    async with db.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO idempotency_keys (id, scope, path, key, request_hash, state, lease_expires_at,"
                " expires_at) SELECT gen_random_uuid(), 's', 'p', n::text, 'h', 'answered', now(), now() - "
                "CASE n WHEN 0 THEN interval '-1 hour' ELSE interval '1 hour' END"
                " FROM generate_series(0, :count) n"
            ),
            {"count": FORGOTTEN_AT_ONCE + 1},
        )

    async with db.transaction() as session:
        assert [await forget_expired(session) for _ in range(3)] == [FORGOTTEN_AT_ONCE, 1, 0]
    assert [record.key for record in await records(db)] == ["0"]


Inner = Callable[[Database, dict[str, Any]], Awaitable[int]]
"""Carries a request out; gives the status to answer."""


def layer(db: Database, inner: Inner) -> AsyncClient:
    """The layer alone, before an application of the test's own."""
    return layer_before(answering(db, inner), db, files=MemoryStores().open_own("x"))


def answering(db: Database, inner: Inner) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        status = await inner(db, {"body": body, "state": scope["state"]})
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"done", "more_body": False})

    return app


def layer_before(app: Any, db: Database, *, files: ObjectStore, folder: Path = Path("/tmp")) -> AsyncClient:  # noqa: S108 - the spool has no name there
    keys = IdempotencyKeys(app, route_table(), db, files=files, spool_folder=folder)

    async def with_caller(scope: Any, receive: Any, send: Any) -> None:
        scope["user"] = Caller()
        scope["state"] = {}
        await keys(scope, receive, send)

    return AsyncClient(transport=ASGITransport(with_caller, raise_app_exceptions=False), base_url="http://x")


async def write(db: Database) -> None:
    async with db.transaction() as session:
        session.add(AuditEvent(event_code="test.write"))


async def written(db: Database) -> int:
    return await count(db, AuditEvent)


@pytest.mark.timeout(30)
async def test_a_request_that_comes_while_the_first_is_in_flight_is_told_to_come_again(
    fresh_db: Database,
) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(db: Database, _: dict[str, Any]) -> int:
        entered.set()
        await leave.wait()
        await write(db)
        return 200

    async with layer(fresh_db, slow) as client:
        first = asyncio.create_task(client.post(PATH, headers=KEY))
        await entered.wait()
        waiting = await client.post(PATH, headers=KEY)
        leave.set()
        done = await first
        again = await client.post(PATH, headers=KEY)

    assert (waiting.status_code, waiting.json()["error_code"]) == (409, "request_in_flight")
    assert waiting.headers["retry-after"] == "1"
    assert (done.status_code, again.status_code) == (200, 200)
    assert again.headers["idempotent-replayed"] == "true"
    assert await written(fresh_db) == 1


@pytest.mark.timeout(30)
async def test_of_fifty_at_once_one_is_carried_out(fresh_db: Database) -> None:
    async def inner(db: Database, _: dict[str, Any]) -> int:
        await write(db)
        return 200

    async with layer(fresh_db, inner) as client:
        answers = await asyncio.gather(*(client.post(PATH, headers=KEY) for _ in range(50)))

    fresh = [a for a in answers if a.status_code == 200 and "idempotent-replayed" not in a.headers]
    assert len(fresh) == 1
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert await written(fresh_db) == 1


@pytest.mark.timeout(30)
@pytest.mark.parametrize("fails", [pytest.param("answer", id="a 500"), pytest.param("raise", id="a bug")])
async def test_a_failure_of_ours_that_changed_nothing_frees_the_key(fresh_db: Database, fails: str) -> None:
    failing = True

    async def inner(db: Database, _: dict[str, Any]) -> int:
        if not failing:
            await write(db)
            return 200
        if fails == "raise":
            raise ZeroDivisionError
        await written(db)
        return 500

    async with layer(fresh_db, inner) as client:
        assert (await client.post(PATH, headers=KEY)).status_code == 500
        assert await records(fresh_db) == []
        failing = False
        assert (await client.post(PATH, headers=KEY)).status_code == 200


@pytest.mark.timeout(30)
async def test_a_failure_of_ours_after_a_change_does_not_repeat_it(fresh_db: Database) -> None:
    async def inner(db: Database, _: dict[str, Any]) -> int:
        await write(db)
        return 500

    async with layer(fresh_db, inner) as client:
        first = await client.post(PATH, headers=KEY)
        again = await client.post(PATH, headers=KEY)

    assert (first.status_code, again.status_code) == (500, 409)
    assert again.json()["error_code"] == "outcome_unknown"
    assert await written(fresh_db) == 1


async def killed(client: AsyncClient, db: Database, entered: asyncio.Event, path: str = PATH) -> None:
    """Send a request, and let its process die inside; its lease ends."""
    request = asyncio.create_task(client.post(path, headers=KEY))
    await entered.wait()
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    await age(db, lease_expires_at=utc_now() - timedelta(seconds=1))


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("is_applied", "path", "status", "changes"),
    [
        pytest.param(False, PATH, 200, 1, id="before its change: carried out"),
        pytest.param(True, PATH, 409, 1, id="after it: said to be applied"),
        pytest.param(
            True, "/api/projects/comic/runs/trigger", 200, 2, id="of a run: carried out with its id"
        ),
    ],
)
async def test_what_a_killed_process_left_is_never_applied_twice(
    fresh_db: Database,
    is_applied: bool,  # noqa: FBT001 - a case
    path: str,
    status: int,
    changes: int,
) -> None:
    entered = asyncio.Event()
    seen: list[UUID] = []

    async def inner(db: Database, request: dict[str, Any]) -> int:
        seen.append(request["state"]["idempotency_id"])
        if is_applied or entered.is_set():
            await write(db)
        if not entered.is_set():
            entered.set()
            await asyncio.Event().wait()
        return 200

    async with layer(fresh_db, inner) as client:
        await killed(client, fresh_db, entered, path)
        again = await client.post(path, headers=KEY)

    assert again.status_code == status
    assert await written(fresh_db) == changes
    if path != PATH:
        assert seen[0] == seen[1]


@pytest.mark.timeout(30)
async def test_a_process_that_was_thought_dead_can_no_longer_write(fresh_db: Database) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def inner(db: Database, _: dict[str, Any]) -> int:
        if not entered.is_set():
            entered.set()
            await leave.wait()
        await write(db)
        return 200

    async with layer(fresh_db, inner) as client:
        first = asyncio.create_task(client.post(PATH, headers=KEY))
        await entered.wait()
        await age(fresh_db, lease_expires_at=utc_now() - timedelta(seconds=1))
        second = await client.post(PATH, headers=KEY)
        leave.set()
        late = await first

    assert (second.status_code, late.status_code) == (200, 500)
    assert await written(fresh_db) == 1


@pytest.mark.usefixtures("slug")
async def test_a_request_without_the_header_costs_no_statement(client: AsyncClient, db: Database) -> None:
    statements: list[str] = []
    async with db.transaction() as session:
        raw = await (await session.connection()).get_raw_connection()
        driver: Any = raw.driver_connection
    driver.add_query_logger(lambda record: statements.append(record.query))

    async def count_of(headers: dict[str, str], name: str) -> int:
        statements.clear()
        await client.post(PATH, json={"name": name}, headers=headers)
        return sum("idempotency_keys" in statement for statement in statements)

    assert await count_of({}, "Mara") == 0
    assert await count_of(KEY, "Ole") > 0


class Echo:
    """An application that says what it was sent, in as many bytes as it is told."""

    def __init__(self, answer: bytes = b"") -> None:
        self.answer = answer
        self.seen: list[tuple[int, str]] = []
        self.count = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        del scope
        self.count += 1
        digest, size, more = sha256(), 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                self.seen.append((size, "cut off"))
                return
            digest.update(message["body"])
            size += len(message["body"])
            more = message["more_body"]
        self.seen.append((size, digest.hexdigest()))
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(self.answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.answer, "more_body": False})


UPLOAD = "/api/tools/upscale"


def folder_names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


async def pieces_of(body: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]
        await asyncio.sleep(0)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65535, 65536, 65537, 3_000_000])
async def test_a_body_comes_through_whole_and_its_digest_is_that_of_earlier_versions(
    fresh_db: Database, tmp_path: Path, size: int
) -> None:
    body = os.urandom(size)
    echo = Echo(b"done")
    async with layer_before(echo, fresh_db, files=MemoryStores().open_own("x"), folder=tmp_path) as client:
        for _ in range(2):
            answer = await client.post(f"{UPLOAD}?a=1", content=pieces_of(body), headers=KEY)
            assert answer.content == b"done"

    assert answer.headers["idempotent-replayed"] == "true"
    assert echo.seen == [(size, sha256(body).hexdigest())]
    (record,) = await records(fresh_db)
    before = msgspec.msgpack.encode(("POST", b"a=1", body))
    assert record.request_hash == hmac.new(b"", before, "sha256").hexdigest()
    assert not folder_names(tmp_path)


@pytest.mark.timeout(60)
async def test_bodies_on_their_way_take_no_memory(fresh_db: Database, tmp_path: Path) -> None:
    block = b"x" * 65536
    ready, leave = asyncio.Semaphore(0), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(128):
            yield block
        ready.release()
        await leave.wait()
        yield block

    echo = Echo()
    async with layer_before(echo, fresh_db, files=MemoryStores().open_own("x"), folder=tmp_path) as client:
        tracemalloc.start()
        try:
            sends = [
                asyncio.create_task(client.post(UPLOAD, content=body(), headers={"Idempotency-Key": f"k{n}"}))
                for n in range(8)
            ]
            for _ in sends:
                await ready.acquire()
            held, _ = tracemalloc.get_traced_memory()
            leave.set()
            await asyncio.gather(*sends)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert held < 24 * 1024**2  # of 64 MiB that have come; each writes one block and fills the next
    assert peak < 40 * 1024**2
    assert [size for size, _ in echo.seen] == [129 * 65536] * 8


@pytest.mark.parametrize("size", [100, 300_000])
async def test_a_body_whose_sender_is_gone_leaves_no_record(
    fresh_db: Database, tmp_path: Path, size: int
) -> None:
    messages = [
        {"type": "http.request", "body": b"x" * size, "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(_: Any) -> None:
        pytest.fail("nobody is there")

    echo = Echo()
    files = MemoryStores().open_own("x")
    keys = IdempotencyKeys(echo, route_table(), fresh_db, files=files, spool_folder=tmp_path)
    headers = [(b"idempotency-key", b"a-1")]
    scope: Any = {"type": "http", "method": "POST", "path": UPLOAD, "headers": headers, "query_string": b""}
    scope |= {"user": Caller(), "state": {}}
    await keys(scope, receive, send)

    assert echo.seen == [(size, "cut off")]
    assert await records(fresh_db) == []


@pytest.mark.timeout(30)
async def test_a_large_answer_is_a_file_that_every_process_gives_again(
    fresh_db: Database, tmp_path: Path
) -> None:
    answer = os.urandom(5_000_000)
    echo = Echo(answer)
    for process in range(2):
        # Another process, maybe on another machine: only the database and the store are the same.
        files = DirectoryStores(tmp_path, allow_any_root=False).open_own("idempotency")
        async with layer_before(echo, fresh_db, files=files, folder=tmp_path) as client:
            got = await client.post(UPLOAD, content=b"x", headers=KEY)
        assert got.content == answer
        assert got.headers["content-length"] == str(len(answer))
        assert ("idempotent-replayed" in got.headers) is bool(process)

    assert echo.count == 1
    (record,) = await records(fresh_db)
    assert (record.body, record.body_bytes) == (None, len(answer))
    (file,) = (tmp_path / "idempotency").iterdir()
    assert file.name == record.body_file

    file.unlink()
    async with layer_before(echo, fresh_db, files=files, folder=tmp_path) as client:
        gone = await client.post(UPLOAD, content=b"x", headers=KEY)
    assert (gone.status_code, gone.json()["error_code"]) == (409, "answer_not_kept")
    assert "5000000 bytes is no longer kept" in gone.json()["error"]
    assert echo.count == 1


@pytest.mark.timeout(30)
async def test_an_answer_for_which_there_is_no_space_is_sent_and_not_done_twice(
    fresh_db: Database, tmp_path: Path
) -> None:
    (tmp_path / "idempotency").write_text("in the way of the folder")
    files = DirectoryStores(tmp_path, allow_any_root=False).open_own("idempotency")
    echo = Echo(b"x" * 100_000)
    async with layer_before(echo, fresh_db, files=files, folder=tmp_path) as client:
        first = await client.post(UPLOAD, headers=KEY)
        again = await client.post(UPLOAD, headers=KEY)

    assert (first.status_code, len(first.content), again.status_code) == (200, 100_000, 409)
    assert echo.count == 1


async def test_one_callers_answers_take_no_more_than_its_share(fresh_db: Database, tmp_path: Path) -> None:
    files = DirectoryStores(tmp_path, allow_any_root=False).open_own("idempotency")
    async with layer_before(Echo(b"x" * 100_000), fresh_db, files=files, folder=tmp_path) as client:
        for n in range(4):
            await client.post(UPLOAD, headers={"Idempotency-Key": f"k{n}"})
            # A file counts as its record says: beside the next answer there is room for one such file.
            await age(fresh_db, body_bytes=FILES_OF_ONE_BYTES // 2)
        statuses = [
            (await client.post(UPLOAD, headers={"Idempotency-Key": f"k{n}"})).status_code for n in range(4)
        ]

    assert statuses == [409, 409, 200, 200]
    assert len(list((tmp_path / "idempotency").iterdir())) == 2


async def test_files_are_swept_when_their_records_are_gone_for_certain(tmp_path: Path) -> None:
    files = DirectoryStores(tmp_path, allow_any_root=False).open_own("idempotency")
    assert await sweep_files(files) == 0  # there is no folder yet
    now = utc_now()
    names = [f"{now - timedelta(days=days):%Y%m%d}_{UUID(int=days)}" for days in (0, 8, 9, 10, 400)]
    for name in names:
        await files.put(name, b"x")

    assert await sweep_files(files) == 2
    assert sorted(file.name for file in (tmp_path / "idempotency").iterdir()) == sorted(names[:3])
