"""How far a run is, and that asking again is cheap: item 7 of issue 4."""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from httpx import AsyncClient
from sqlalchemy import update

from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.ledger.models import ProviderCall, ProviderGate
from kroma.projects.models import Project
from kroma.projects.queries import get_project
from kroma.runs.events import write_event
from kroma.runs.models import JobStatus, Run, RunCandidate, RunJob, RunStatus, RunStep

DETAIL_KEYS = {
    "counts", "progress", "phases", "queue_position", "attempt", "reason", "reason_code", "origin", "spend",
}  # fmt: skip


async def add_run(db: Database, *statuses: JobStatus, **columns: Any) -> Run:
    async with db.transaction() as session:
        project = await get_project(session, "comic")
        fields = {
            "run_mode": "run",
            "plan_json": {"x": 1},
            "provider_code": "openai",
            "created_at": utc_now(),
        }
        run = Run(project_id=project.id, **(fields | columns))
        session.add(run)
        await session.flush()
        for ordinal, status in enumerate(statuses):
            session.add(
                RunJob(
                    run_id=run.id,
                    ordinal=ordinal,
                    job_key=f"style_{ordinal}_a",
                    status=status,
                    created_at=run.created_at,
                )
            )
    return run


async def detail(client: AsyncClient, run: Run) -> dict[str, Any]:
    return (await client.get(f"/api/projects/comic/runs/{run.id}")).json()


pytestmark = pytest.mark.usefixtures("slug")


async def test_a_run_shows_counts_and_progress(client: AsyncClient, db: Database) -> None:
    run = await add_run(
        db, JobStatus.DONE, JobStatus.FAILED, JobStatus.RUNNING, JobStatus.QUEUED, status=RunStatus.RUNNING
    )
    job_id = (await detail(client, run))["jobs"][0]["id"]
    async with db.transaction() as session:
        session.add(RunCandidate(job_id=job_id, candidate_index=1, status="done"))
        session.add(RunCandidate(job_id=job_id, candidate_index=2, status="failed"))
    shown = (await detail(client, run))["run"]

    assert set(shown) >= DETAIL_KEYS
    assert shown["counts"] == {
        "jobs": {"done": 1, "failed": 1, "running": 1, "queued": 1},
        "candidates": {"done": 1, "failed": 1},
    }
    assert shown["progress"] == {"done": 2, "total": 4, "fraction": 0.5}
    assert shown["queue_position"] is None


async def test_a_run_that_has_ended_is_all_done(client: AsyncClient, db: Database) -> None:
    run = await add_run(db, JobStatus.PLANNED, status=RunStatus.OK, run_mode="dry")

    assert (await detail(client, run))["run"]["progress"] == {"done": 1, "total": 1, "fraction": 1.0}


async def test_phases_span_all_jobs(client: AsyncClient, db: Database) -> None:
    begin = utc_now().replace(microsecond=0)
    run = await add_run(
        db, JobStatus.DONE, JobStatus.DONE, status=RunStatus.OK, started_at=begin, finishing_at=begin
    )
    jobs = (await detail(client, run))["jobs"]
    async with db.transaction() as session:
        for number, job in enumerate(jobs):
            for name in ("generate/1", "generate/2", "rank"):
                session.add(
                    RunStep(
                        job_id=job["id"],
                        name=name,
                        fence=1,
                        output_json={},
                        started_at=begin + timedelta(seconds=number),
                        finished_at=begin + timedelta(seconds=number + 10),
                    )
                )
    phases = (await detail(client, run))["run"]["phases"]

    def stamp(seconds: int) -> str:
        return (begin + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    assert set(phases) == {"queued", "generate", "rank", "finishing"}
    assert phases["generate"] == {"started_at": stamp(0), "finished_at": stamp(11)}
    assert phases["queued"]["finished_at"] == stamp(0)


async def test_a_queued_run_knows_the_jobs_ahead(client: AsyncClient, db: Database) -> None:
    now = utc_now()
    await add_run(db, *[JobStatus.QUEUED] * 3, created_at=now - timedelta(minutes=2))
    second = await add_run(db, JobStatus.QUEUED, created_at=now - timedelta(minutes=1))
    third = await add_run(db, JobStatus.QUEUED, created_at=now)

    for run, ahead in ((second, 3), (third, 4)):
        assert (await detail(client, run))["run"]["queue_position"] == ahead


async def test_a_job_shows_its_attempts_and_when_it_may_begin(client: AsyncClient, db: Database) -> None:
    run = await add_run(db, JobStatus.QUEUED, status=RunStatus.RUNNING)
    later = utc_now() + timedelta(hours=1)
    async with db.transaction() as session:
        await session.execute(
            update(RunJob).values(
                attempt=2, available_at=later, error="It broke", error_code="provider_failed"
            )
        )
    body = await detail(client, run)
    job = body["jobs"][0]

    assert (job["attempt"], job["max_attempts"], job["started_at"], job["finished_at"]) == (2, 3, "", "")
    assert job["available_at"] == later.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert body["run"]["attempt"] == 2
    assert ": It broke" in body["run"]["reason"]
    assert body["run"]["reason_code"] == "provider_failed"


async def test_a_run_says_why_it_failed(client: AsyncClient, db: Database) -> None:
    run = await add_run(db, status=RunStatus.FAILED, error="No", error_code="provider_failed")
    shown = (await detail(client, run))["run"]

    assert (shown["reason"], shown["reason_code"]) == ("No", "provider_failed")


async def test_a_run_says_that_its_project_is_paused(client: AsyncClient, db: Database) -> None:
    run = await add_run(db, JobStatus.QUEUED)
    async with db.transaction() as session:
        await session.execute(update(Project).values(paused_at=utc_now(), paused_reason="holiday"))
    shown = (await detail(client, run))["run"]

    assert (shown["reason"], shown["reason_code"]) == ("The project is paused: holiday", "project_paused")


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        pytest.param(
            {"paused_at": utc_now(), "paused_code": "provider_key_refused"},
            "provider_key_refused",
            id="paused",
        ),
        pytest.param({"open_until": utc_now() + timedelta(hours=1)}, "circuit_open", id="circuit open"),
        pytest.param({"retry_after": utc_now() + timedelta(hours=1)}, "rate_limited", id="asked to wait"),
        pytest.param({"open_until": utc_now() - timedelta(hours=1)}, "", id="circuit closed again"),
    ],
)
async def test_a_run_says_what_its_provider_does(
    client: AsyncClient, db: Database, columns: dict[str, Any], code: str
) -> None:
    run = await add_run(db, JobStatus.QUEUED)
    async with db.transaction() as session:
        session.add(ProviderGate(id=uuid4(), provider_code="openai", failures=0, **columns))
    shown = (await detail(client, run))["run"]

    assert shown["reason_code"] == code
    assert ("'openai'" in shown["reason"]) is bool(code)


async def test_a_run_shows_where_it_comes_from_and_what_it_costs(client: AsyncClient, db: Database) -> None:
    first = await add_run(db, status=RunStatus.FAILED)
    run = await add_run(
        db, status=RunStatus.OK, origin_run_id=first.id, origin_kind="retry", estimated_usd=Decimal("0.5")
    )
    async with db.transaction() as session:
        session.add(
            ProviderCall(
                project_id=run.project_id, run_id=run.id, job_key="a", candidate_index=1, number=1, fence=1,
                provider_code="openai", model_name="m", operation="image_edit", status="settled",
                cost_usd=Decimal("0.25"), ended_at=utc_now(),
            )
        )  # fmt: skip
    shown = (await detail(client, run))["run"]

    assert shown["origin"] == {"run_id": str(first.id), "kind": "retry"}
    assert shown["spend"] == {
        "estimated_usd": 0.5, "spent_usd": 0.25, "held_usd": 0.0, "unknown_price_calls": 0,
    }  # fmt: skip
    assert (await detail(client, first))["run"]["origin"] is None


@pytest.mark.parametrize("tail", ["", "/jobs"])
async def test_nothing_new_is_a_304_without_a_body(client: AsyncClient, db: Database, tail: str) -> None:
    run = await add_run(db, JobStatus.QUEUED)
    path = f"/api/projects/comic/runs/{run.id}{tail}"
    tag = (await client.get(path)).headers["etag"]
    assert re.fullmatch(r'W/"[^"]+"', tag)

    for known in (tag, tag.removeprefix("W/"), f'"x", {tag}', "*"):
        same = await client.get(path, headers={"If-None-Match": known})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    other = await client.get(path, headers={"If-None-Match": 'W/"x"'})
    assert (other.status_code, other.headers["etag"]) == (200, tag)


@pytest.mark.parametrize("tail", ["", "/jobs"])
async def test_whatever_happens_to_a_run_changes_its_tag(
    client: AsyncClient, db: Database, tail: str
) -> None:
    run = await add_run(db, JobStatus.QUEUED)
    path = f"/api/projects/comic/runs/{run.id}{tail}"
    tags = [(await client.get(path)).headers["etag"]]

    async def changed() -> None:
        answer = await client.get(path, headers={"If-None-Match": tags[-1]})
        assert answer.status_code == 200
        tags.append(answer.headers["etag"])

    async with db.transaction() as session:
        await session.execute(update(RunJob).values(status=JobStatus.RUNNING, fence=1))
    await changed()
    async with db.transaction() as session:
        await session.execute(update(Run).values(status=RunStatus.RUNNING))
    await changed()
    async with db.transaction() as session:
        await write_event(session, run.id, "step", {"step": "rank"})
    await changed()
    async with db.transaction() as session:
        await session.execute(update(Project).values(paused_at=utc_now()))
    await changed()
    assert len(set(tags)) == 5


@pytest.mark.parametrize("tail", ["", "/jobs"])
async def test_a_304_is_one_statement(client: AsyncClient, db: Database, tail: str) -> None:
    run = await add_run(db, JobStatus.QUEUED)
    path = f"/api/projects/comic/runs/{run.id}{tail}"
    tag = (await client.get(path)).headers["etag"]
    statements: list[str] = []
    async with db.transaction() as session:
        raw = await (await session.connection()).get_raw_connection()
        driver: Any = raw.driver_connection
    driver.add_query_logger(lambda record: statements.append(record.query))
    await client.get(path, headers={"If-None-Match": tag})

    # The test's transaction is a savepoint, which a pooled connection does not need.
    (statement,) = [query for query in statements if "SAVEPOINT" not in query]
    assert "runs.id =" in statement


@pytest.mark.parametrize("tail", ["", "/jobs"])
async def test_an_unknown_run_is_not_found_whatever_is_known(client: AsyncClient, tail: str) -> None:
    path = f"/api/projects/comic/runs/{uuid4()}{tail}"

    assert (await client.get(path, headers={"If-None-Match": "*"})).status_code == 404
