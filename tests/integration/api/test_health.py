import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient
from sqlalchemy import insert, text

from kroma import __version__
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.metrics import REGISTRY
from kroma.queue.arq import ArqTaskQueue
from kroma.workers.models import WorkerRow
from support.doubles.memory_queue import MemoryTaskQueue
from support.harness.documented_api import ClientFactory
from support.servers.api_process import free_port

PARTS = ["database", "migrations", "worker", "queue", "store"]


async def test_health_needs_no_token_and_counts_the_contracts_routes(auth_client: AsyncClient) -> None:
    response = await auth_client.get("/health")

    body = response.json()
    assert response.status_code == 200
    assert (body["ok"], body["status"], body["service"]) == (True, "ok", "kroma-backend-core")
    assert body["version"] == __version__
    assert 0 < body["started_unix_ms"] <= time.time() * 1000
    assert body["route_count"] == 74


async def test_the_document_is_open_to_everyone(auth_client: AsyncClient) -> None:
    for path in ("/schema", "/schema/openapi.json"):
        response = await auth_client.get(path)
        assert response.status_code == 200
        assert response.json()["info"]["title"] == "Kroma"


async def test_browsers_get_the_document_as_a_page_that_loads_nothing(auth_client: AsyncClient) -> None:
    response = await auth_client.get("/schema", headers={"Accept": "text/html,*/*;q=0.8"})

    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert "/api/projects/{slug}/runs/trigger" in response.text
    assert "<script" not in response.text
    assert "://" not in response.text.replace("s3://", "")


@pytest.fixture
async def worker(db: Database) -> None:
    """A worker that showed itself just now."""
    async with db.transaction() as session:
        row = {"name": "w", "host": "secret-host", "pid": 1, "version": "0", "started_at": utc_now()}
        await session.execute(insert(WorkerRow).values(row))


async def readiness(client: AsyncClient, query: str = "") -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body, and what was found of the parts that are not well."""
    response = await client.get(f"/health/ready{query}")
    body = response.json()
    failed = {check["name"]: check["detail"] for check in body["checks"] if not check["ok"]}
    return response.status_code, body, failed


async def execute(db: Database, statement: str) -> None:
    async with db.transaction() as session:
        await session.execute(text(statement))


async def test_a_live_process_says_so_without_a_token(auth_client: AsyncClient) -> None:
    response = await auth_client.get("/health/live")
    head = await auth_client.head("/health/live")

    assert (response.status_code, response.json()) == (200, {"ok": True, "status": "live"})
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.usefixtures("worker")
async def test_everything_that_is_well_is_ready(auth_client: AsyncClient) -> None:
    status, body, failed = await readiness(auth_client)

    assert (status, body["ok"], body["status"], failed) == (200, True, "ready", {})
    assert [check["name"] for check in body["checks"]] == PARTS
    assert all(check["ms"] >= 0 for check in body["checks"])
    assert (await auth_client.head("/health/ready")).status_code == 200


@pytest.mark.usefixtures("worker")
async def test_what_is_found_says_nothing_of_hosts_and_paths(
    auth_client: AsyncClient, data_dir: Path
) -> None:
    text_of_it = (await auth_client.get("/health/ready")).text

    assert str(data_dir) not in text_of_it
    assert "secret-host" not in text_of_it


async def test_without_a_worker_it_is_not_ready_unless_the_asker_does_without_one(
    auth_client: AsyncClient,
) -> None:
    status, body, failed = await readiness(auth_client)
    status_without, body_without, _ = await readiness(auth_client, "?without=worker,%20queue")

    assert (status, failed) == (503, {"worker": "no worker was seen in the last 30 s"})
    assert (body["ok"], body["error"]) == (False, "Not ready: worker")
    assert (body["error_kind"], body["error_code"], body["status"]) == ("infra", "not_ready", "not_ready")
    assert status_without == 200
    assert [check["name"] for check in body_without["checks"]] == ["database", "migrations", "store"]


async def test_the_queue_can_be_left_out_by_its_old_name(auth_client: AsyncClient) -> None:
    _, body, _ = await readiness(auth_client, "?without=bell")

    assert [check["name"] for check in body["checks"]] == ["database", "migrations", "worker", "store"]


async def test_what_is_no_check_cannot_be_left_out(auth_client: AsyncClient) -> None:
    response = await auth_client.get("/health/ready?without=everything")

    assert response.status_code == 400
    assert response.json()["error"] == f"Field 'without' must be one of: {', '.join(PARTS)}"


@pytest.mark.usefixtures("worker")
async def test_a_worker_that_was_not_seen_for_long_does_not_count(
    auth_client: AsyncClient, db: Database
) -> None:
    await execute(db, "UPDATE workers SET seen_at = clock_timestamp() - interval '31 s'")

    assert (await readiness(auth_client))[2].keys() == {"worker"}


@pytest.mark.parametrize("revision", ["0001", "9999"])
@pytest.mark.usefixtures("worker")
async def test_another_schema_is_not_ready(auth_client: AsyncClient, db: Database, revision: str) -> None:
    await execute(db, f"UPDATE alembic_version SET version_num = '{revision}'")  # noqa: S608 - our own

    status, _, failed = await readiness(auth_client)

    assert status == 503
    assert failed["migrations"].startswith(f"schema {revision}, needed 0")


@pytest.mark.usefixtures("worker")
async def test_a_store_that_cannot_be_written_is_not_ready(auth_client: AsyncClient, data_dir: Path) -> None:
    (data_dir / "var").write_bytes(b"where a folder should be")

    status, body, failed = await readiness(auth_client)

    assert (status, [*failed]) == (503, ["store"])
    assert str(data_dir) not in str(body)


@pytest.fixture
async def silent_database() -> AsyncIterator[Database]:
    database = Database.connect(f"postgresql://kroma:secret-word@127.0.0.1:{free_port()}/gone")
    yield database
    await database.close()


async def test_without_a_database_it_lives_and_is_not_ready(
    client_with: ClientFactory, silent_database: Database
) -> None:
    client = client_with(silent_database)

    status, body, failed = await readiness(client)

    assert status == 503
    assert failed == {
        "database": "fails: ConnectionRefusedError",
        "migrations": "not known without the database",
        "worker": "not known without the database",
    }
    assert "secret-word" not in str(body)
    assert (await client.get("/health/live")).status_code == 200


@pytest.mark.usefixtures("worker")
async def test_a_bell_that_does_not_answer_is_not_ready(client_with: ClientFactory) -> None:
    queue = ArqTaskQueue(f"redis://:secret-word@127.0.0.1:{free_port()}/0")

    status, body, failed = await readiness(client_with(queue=queue))
    await queue.close()

    assert (status, failed) == (503, {"queue": "does not answer"})
    assert "secret-word" not in str(body)


@pytest.mark.usefixtures("worker")
async def test_an_answer_stands_for_a_moment(client_with: ClientFactory) -> None:
    queue = CountedQueue()
    client = client_with(queue=queue)

    for _ in range(20):
        assert (await client.get("/health/ready")).status_code == 200

    assert queue.asked < 20


class CountedQueue(MemoryTaskQueue):
    """Counts how often it was asked for its depth."""

    asked = 0

    async def depth(self) -> int:
        self.asked += 1
        return await super().depth()


def counted(**labels: str) -> float:
    return REGISTRY.get_sample_value("kroma_http_requests_total", labels) or 0.0


async def test_requests_are_counted_by_their_route_and_never_by_a_name(
    client: AsyncClient, slug: str
) -> None:
    found = {"method": "GET", "route": "/api/projects/{slug}", "status": "200"}
    lost = {"method": "GET", "route": "unknown", "status": "404"}
    before = counted(**found), counted(**lost)

    await client.get(f"/api/projects/{slug}")
    await client.get("/no/such/path")

    assert (counted(**found), counted(**lost)) == (before[0] + 1, before[1] + 1)
    labels = [sample.labels for metric in REGISTRY.collect() for sample in metric.samples]
    assert not any(slug in value.split("/") for found in labels for value in found.values())


@pytest.mark.parametrize(
    ("given", "is_taken"),
    [
        pytest.param("proxy-1.a_B", True, id="letters digits and signs"),
        pytest.param("x" * 64, True, id="64 long"),
        pytest.param("x" * 65, False, id="longer"),
        pytest.param("two words", False, id="a space"),
        pytest.param('"}{"', False, id="JSON"),
        pytest.param("", False, id="nothing"),
    ],
)
async def test_a_callers_own_id_is_kept_where_it_is_one(
    *, client: AsyncClient, given: str, is_taken: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    response = await client.get("/api/projects/x/runs/y", headers={"X-Request-Id": given})

    shown = response.headers["x-request-id"]
    assert (shown == given) is is_taken
    assert re.fullmatch("[A-Za-z0-9._-]{1,64}", shown)
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"request"' in line]
    assert (line["request_id"], line["run_id"], line["project"]) == (shown, "y", "x")
