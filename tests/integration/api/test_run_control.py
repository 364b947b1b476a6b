"""Canceling, repeating and pausing over HTTP; what it does to work is tested beside the worker."""

from typing import Any
from uuid import uuid4

import pytest
from httpx import AsyncClient
from sqlalchemy import select, update

from kroma.audit.models import AuditEvent
from kroma.db.engine import Database
from kroma.runs.models import Run, RunJob

pytestmark = pytest.mark.timeout(60)

RUN = {"mode": "run", "confirm_spend": True, "scene_refs": ["scenes/a.png", "scenes/b.png"]}


async def trigger(client: AsyncClient, slug: str) -> str:
    return (await client.post(f"/api/projects/{slug}/runs/trigger", json=RUN)).json()["run"]["id"]


async def fail(db: Database, run_id: str) -> None:
    """What a worker does to a run whose second job fails."""
    async with db.transaction() as session:
        for status in ("running", "failed"):
            await session.execute(update(RunJob).where(RunJob.ordinal == 1).values(status=status))
            await session.execute(update(RunJob).where(RunJob.ordinal == 0).values(status="running"))
            await session.execute(update(Run).where(Run.id == run_id).values(status=status))
        await session.execute(update(RunJob).where(RunJob.ordinal == 0).values(status="done"))


async def codes(db: Database) -> list[str]:
    async with db.transaction() as session:
        events = await session.scalars(select(AuditEvent.event_code).order_by(AuditEvent.created_at))
        return [code for code in events if code != "project.upsert"]


@pytest.mark.usefixtures("root")
async def test_a_cancelled_run_answers_as_it_is_and_stays(
    client: AsyncClient, slug: str, db: Database
) -> None:
    run_id = await trigger(client, slug)
    at = f"/api/projects/{slug}/runs/{run_id}"

    first, again = await client.post(f"{at}/cancel"), await client.post(f"{at}/cancel")

    assert first.status_code == again.status_code == 200
    assert (first.json()["run"]["status"], first.json()["run"]["done"]) == ("canceled", True)
    assert first.json() == again.json()
    assert (await client.get(at)).json()["run"]["error_code"] == "run_canceled"
    assert (await client.get(f"{at}/log")).json()["run_log"]["status"] == "canceled"
    assert (await codes(db)).count("run.cancel") == 1


@pytest.mark.parametrize("verb", ["cancel", "retry", "rerun"])
@pytest.mark.usefixtures("root")
async def test_a_run_of_nobody_or_of_another_project_is_not_found(
    client: AsyncClient, slug: str, verb: str
) -> None:
    run_id = await trigger(client, slug)
    other = (await client.post("/api/projects", json={"name": "Other"})).json()["project"]["slug"]
    for path in (
        f"{slug}/runs/{uuid4()}",
        f"{other}/runs/{run_id}",
        f"missing/runs/{run_id}",
        f"{slug}/runs/x",
    ):
        response = await client.post(f"/api/projects/{path}/{verb}", json={})
        assert (response.status_code, response.json()["error"]) == (404, "Run not found"), path


@pytest.mark.usefixtures("root")
async def test_a_retry_is_a_new_run_of_the_failed_jobs(client: AsyncClient, slug: str, db: Database) -> None:
    run_id = await trigger(client, slug)
    at = f"/api/projects/{slug}/runs/{run_id}"
    early = await client.post(f"{at}/retry", json={"confirm_spend": True})
    assert (early.status_code, early.json()["error_code"]) == (400, "run_not_repeatable")
    await fail(db, run_id)

    response = await client.post(f"{at}/retry", json={"confirm_spend": True})

    reply = response.json()
    assert (response.status_code, response.headers["Location"]) == (202, reply["links"]["self"])
    assert (reply["origin_run_id"], reply["origin_kind"], reply["estimated_usd"]) == (run_id, "retry", 0.0)
    jobs = (await client.get(reply["links"]["self"])).json()["jobs"]
    assert [job["job_key"] for job in jobs] == ["style_2_b"]


@pytest.mark.usefixtures("root")
async def test_a_rerun_takes_the_plan_with_changes(client: AsyncClient, slug: str, db: Database) -> None:
    run_id = await trigger(client, slug)
    await fail(db, run_id)
    at = f"/api/projects/{slug}/runs/{run_id}/rerun"

    reply = (await client.post(at, json={"stage": "weather", "weather": "rain", "candidates": 2})).json()

    assert reply["origin_kind"] == "rerun"
    assert (reply["run"]["stage"], reply["run"]["weather"]) == ("weather", "rain")
    jobs = (await client.get(reply["links"]["self"])).json()["jobs"]
    assert [job["job_key"] for job in jobs] == ["weather_1_a", "weather_2_b"]
    wrong = await client.post(at, json={"time": "night"})
    assert (wrong.status_code, wrong.json()["error_code"]) == (400, "invalid_request")


async def test_a_project_is_paused_and_resumed(client: AsyncClient, slug: str, db: Database) -> None:
    async def told(verb: str, body: dict[str, Any] | None = None) -> tuple[bool, str]:
        response = await client.post(f"/api/projects/{slug}/{verb}", json=body)
        assert response.status_code == 200
        project = response.json()["project"]
        assert bool(project["paused_at"]) is project["paused"]
        detail = (await client.get(f"/api/projects/{slug}")).json()["project"]
        assert (detail["paused_at"], detail["paused_reason"]) == (
            project["paused_at"],
            project["paused_reason"],
        )
        return project["paused"], project["paused_reason"]

    assert await told("resume") == (False, "")
    assert await told("pause", {"reason": "moving"}) == (True, "moving")
    assert await told("pause") == (True, "moving")
    assert await told("pause", {"reason": "still moving"}) == (True, "still moving")
    assert await told("resume") == (False, "")
    assert await codes(db) == ["project.pause", "project.pause", "project.resume"]


@pytest.mark.parametrize("verb", ["pause", "resume"])
async def test_an_unknown_project_is_neither_paused_nor_resumed(client: AsyncClient, verb: str) -> None:
    response = await client.post(f"/api/projects/missing/{verb}")

    assert (response.status_code, response.json()["error"]) == (404, "Project not found")
