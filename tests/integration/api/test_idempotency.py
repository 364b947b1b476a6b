"""``Idempotency-Key``: item 6 of issue 4."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from httpx import ASGITransport, AsyncClient
from sqlalchemy import func, select, text, update

from kroma.audit.models import AuditEvent
from kroma.auth.caller import Caller
from kroma.auth.models import ApiToken
from kroma.characters.models import Character
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.idempotency.models import IdempotencyKey
from kroma.idempotency.service import FORGOTTEN_AT_ONCE, KEPT, forget_expired
from kroma_api.app import ROUTERS, routes
from kroma_api.idempotency import CHANGES, READS, REPEATABLE, IdempotencyKeys
from kroma_api.openapi import document
from kroma_api.parity import mounted_routes

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


def test_every_post_is_said_to_change_something_or_not_to() -> None:
    posts = {
        re.sub(r"\{(\w+)\}", r"{\1}", path) for method, path in mounted_routes(routes()) if method == "POST"
    }

    assert posts <= CHANGES.keys() | READS | REPEATABLE
    assert not CHANGES.keys() & (READS | REPEATABLE)


def test_the_document_describes_the_header_wherever_it_counts() -> None:
    described = document(ROUTERS)["paths"]

    for path, item in described.items():
        for method, operation in item.items():
            names = {parameter["name"] for parameter in operation.get("parameters", ())}
            takes_key = method == "post" and path in CHANGES
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

    assert [await forget_expired(db) for _ in range(3)] == [FORGOTTEN_AT_ONCE, 1, 0]
    assert [record.key for record in await records(db)] == ["0"]


Inner = Callable[[Database, dict[str, Any]], Awaitable[int]]
"""Carries a request out; gives the status to answer."""


def layer(db: Database, inner: Inner) -> AsyncClient:
    """The layer alone, before an application of the test's own."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        status = await inner(db, {"body": body, "state": scope["state"]})
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"done", "more_body": False})

    keys = IdempotencyKeys(app, db)

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
