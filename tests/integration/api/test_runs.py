"""Contract 3.7, 3.8 and 3.9, as seen over HTTP, and the log of a run."""

import asyncio
import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from httpx import AsyncClient
from sqlalchemy import func, select, update

from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.projects.queries import get_project
from kroma.runs.models import Run, RunCandidate, RunJob, RunStatus
from support.doubles.memory_queue import MemoryTaskQueue
from support.harness.documented_api import ClientFactory

RUN_KEYS = {
    "id", "project_id", "run_mode", "status", "stage", "time_of_day", "weather", "model_name",
    "provider_code", "settings_snapshot_json", "started_at", "finished_at", "created_at", "run_log_path",
    "image_size", "image_quality",
}  # fmt: skip
OUR_RUN_KEYS = {"done", "error", "error_kind", "error_code"}


async def add_runs(db: Database, slug: str, count: int) -> list[UUID]:
    """Runs in the order they were made, the last two in one microsecond."""
    now = utc_now()
    async with db.transaction() as session:
        project = await get_project(session, slug)
        runs = [
            Run(
                project_id=project.id,
                run_mode="run",
                status=RunStatus.OK,
                created_at=now + timedelta(microseconds=min(number, count - 2)),
                run_log_path=f"runs/{number}.json",
            )
            for number in range(count)
        ]
        session.add_all(runs)
        await session.flush()
    return [run.id for run in runs]


async def add_job(db: Database, run_id: UUID, ordinal: int, candidates: tuple[int, ...] = ()) -> None:
    async with db.transaction() as session:
        job = RunJob(run_id=run_id, ordinal=ordinal, job_key=f"style_{ordinal + 1}_x", status="done")
        session.add(job)
        await session.flush()
        session.add_all(
            RunCandidate(
                job_id=job.id,
                candidate_index=index,
                status="done",
                rank_avg_chroma_exceed=Decimal("0.125"),
            )
            for index in candidates
        )


async def count_runs(db: Database) -> int:
    async with db.transaction() as session:
        return (await session.execute(select(func.count()).select_from(Run))).scalar_one()


async def test_a_new_project_has_no_runs(client: AsyncClient, slug: str) -> None:
    response = await client.get(f"/api/projects/{slug}/runs")

    assert response.json() == {"ok": True, "count": 0, "next": None, "runs": []}


async def test_runs_are_listed_newest_first_and_by_id_within_an_instant(
    client: AsyncClient, slug: str, db: Database
) -> None:
    oldest, *latest = await add_runs(db, slug, 3)
    body = (await client.get(f"/api/projects/{slug}/runs")).json()

    expected = [*sorted((str(run_id) for run_id in latest), reverse=True), str(oldest)]
    assert [run["id"] for run in body["runs"]] == expected
    assert body["count"] == 3
    assert set(body["runs"][0]) == RUN_KEYS | OUR_RUN_KEYS


@pytest.mark.parametrize(
    ("limit", "count"), [("2", 2), ("0", 1), ("-7", 1), ("9" * 100, 3), ("-" + "9" * 100, 1)]
)
async def test_a_limit_outside_the_range_is_clamped(
    client: AsyncClient, slug: str, db: Database, limit: str, count: int
) -> None:
    await add_runs(db, slug, 3)
    response = await client.get(f"/api/projects/{slug}/runs", params={"limit": limit})

    assert response.json()["count"] == count


async def test_missing_values_of_a_run_are_empty_texts(client: AsyncClient, slug: str, db: Database) -> None:
    run_id, _ = await add_runs(db, slug, 2)
    run = (await client.get(f"/api/projects/{slug}/runs/{run_id}")).json()["run"]

    empty = {key for key, value in run.items() if value == ""}
    assert {"stage", "weather", "model_name", "provider_code", "started_at", "image_size"} <= empty
    assert run["settings_snapshot_json"] == {}
    assert run["done"] is True


async def test_a_runs_detail_has_jobs_in_plan_order_and_candidates_by_index(
    client: AsyncClient, slug: str, db: Database
) -> None:
    run_id, _ = await add_runs(db, slug, 2)
    await add_job(db, run_id, 1)
    await add_job(db, run_id, 0, candidates=(3, 1, 2))
    detail = (await client.get(f"/api/projects/{slug}/runs/{run_id}")).json()
    jobs = (await client.get(f"/api/projects/{slug}/runs/{run_id}/jobs")).json()

    assert [job["job_key"] for job in detail["jobs"]] == ["style_1_x", "style_2_x"]
    assert [c["candidate_index"] for c in detail["jobs"][0]["candidates"]] == [1, 2, 3]
    assert detail["jobs"][0]["candidates"][0]["rank_avg_chroma_exceed"] == 0.125
    assert detail["jobs"][1]["candidates"] == []
    assert detail["jobs"][1]["selected_candidate_index"] is None
    assert jobs == {"ok": True, "count": 2, "next": None, "run_id": str(run_id), "jobs": detail["jobs"]}


@pytest.mark.parametrize("run_id", ["x", "missing-run", "0f2d5c9e-4a7b-4c1d-8e3f-5a6b7c8d9e0f"])
@pytest.mark.parametrize("tail", ["", "/jobs", "/log"])
async def test_an_unknown_run_is_not_found(client: AsyncClient, slug: str, run_id: str, tail: str) -> None:
    response = await client.get(f"/api/projects/{slug}/runs/{run_id}{tail}")

    assert (response.status_code, response.json()["error"]) == (404, "Run not found")


@pytest.mark.parametrize("tail", ["", "/jobs", "/log"])
async def test_a_run_of_another_or_no_project_is_not_found(
    client: AsyncClient, slug: str, db: Database, tail: str
) -> None:
    run_id, _ = await add_runs(db, slug, 2)
    await client.post("/api/projects", json={"name": "Other"})

    for other in ("other", "missing", "___"):
        response = await client.get(f"/api/projects/{other}/runs/{run_id}{tail}")
        assert (response.status_code, response.json()["error"]) == (404, "Run not found")


async def test_the_runs_of_an_unknown_project_are_not_found(client: AsyncClient) -> None:
    response = await client.get("/api/projects/missing/runs")

    assert (response.status_code, response.json()["error"]) == (404, "Project not found")


@pytest.mark.usefixtures("root")
async def test_a_trigger_answers_202_with_where_to_go_on(
    client: AsyncClient, slug: str, queue: MemoryTaskQueue
) -> None:
    response = await client.post(f"/api/projects/{slug}/runs/trigger", json={"input": "scenes"})

    body = response.json()
    address = f"/api/projects/{slug}/runs/{body['run']['id']}"
    assert response.status_code == 202
    assert response.headers["location"] == address
    assert response.headers["retry-after"] == "1"
    assert body["pipeline_trigger"] == {
        "mode": "dry",
        "status_code": 0,
        "stdout": "",
        "stderr": "",
        "adapter": "arq",
    }
    assert body["links"] == {"self": address, "events": f"{address}/events", "cancel": f"{address}/cancel"}
    read = (await client.get(address)).json()
    assert body["run"] == read["run"]
    assert read["run"]["done"] is False
    assert [job["job_key"] for job in read["jobs"]] == ["style_1_a", "style_2_b"]
    assert {job["status"] for job in read["jobs"]} == {"planned"}
    assert await queue.depth() == 1


async def test_the_body_rules_come_before_the_project(client: AsyncClient) -> None:
    for body, code in (
        ({}, "invalid_request"),
        ({"mode": "nope"}, "invalid_mode"),
        ({"input": "x", "mode": "run"}, "spend_confirmation_required"),
    ):
        response = await client.post("/api/projects/missing/runs/trigger", json=body)
        assert (response.status_code, response.json()["error_code"]) == (400, code)
    response = await client.post("/api/projects/missing/runs/trigger", json={"input": "x"})
    assert (response.status_code, response.json()["error"]) == (404, "Project not found")


@pytest.mark.usefixtures("slug")
async def test_a_slug_must_be_written_as_one_to_trigger(client: AsyncClient) -> None:
    response = await client.post("/api/projects/%5Fcomic%21/runs/trigger", json={"input": "scenes"})

    assert (response.status_code, response.json()["error_code"]) == (400, "invalid_project_slug")


async def test_a_trigger_without_a_body_is_judged_by_its_rules(client: AsyncClient, slug: str) -> None:
    response = await client.post(f"/api/projects/{slug}/runs/trigger")

    assert (response.status_code, response.json()["error"]) == (400, "Provide one of: input, scene_refs")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"candidates": "2"}, id="text for a number"),
        pytest.param({"candidates": 2.0}, id="fraction for a number"),
        pytest.param({"candidates": True}, id="bool for a number"),
        pytest.param({"confirm_spend": "true"}, id="text for a bool"),
        pytest.param({"confirm_spend": 1}, id="number for a bool"),
        pytest.param({"scene_refs": "a.png"}, id="text for a list"),
        pytest.param({"scene_refs": [1]}, id="number in a list"),
        pytest.param({"mode": 1}, id="number for a text"),
    ],
)
async def test_types_are_strict(client: AsyncClient, slug: str, body: dict[str, object]) -> None:
    response = await client.post(f"/api/projects/{slug}/runs/trigger", json={"input": "scenes", **body})

    assert response.status_code == 422
    assert f"'{next(iter(body))}" in response.json()["error"]


async def test_a_huge_number_is_out_of_range_and_no_crash(client: AsyncClient, slug: str) -> None:
    body = f'{{"input":"scenes","candidates":{"9" * 60}}}'
    response = await client.post(
        f"/api/projects/{slug}/runs/trigger", content=body, headers={"content-type": "application/json"}
    )

    assert response.json()["error"] == "Field 'candidates' must be between 1 and 6"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"input": "missing"}, id="missing folder"),
        pytest.param({"scene_refs": ["scenes/none.png"]}, id="missing scene"),
        pytest.param({"scene_refs": ["../../../up.png"]}, id="outside the project"),
        pytest.param({"scene_refs": ["text.png"]}, id="text named as a picture"),
        pytest.param({"scene_refs": ["scenes/a.png"] * 21}, id="over the batch limit"),
    ],
)
async def test_what_makes_no_plan_is_a_400_and_leaves_no_row(
    client: AsyncClient, slug: str, root: Path, db: Database, body: dict[str, object]
) -> None:
    (root / "text.png").write_text("no picture")
    response = await client.post(f"/api/projects/{slug}/runs/trigger", json=body)

    assert (response.status_code, response.json()["error_code"]) == (400, "planning_preflight_failed")
    assert await count_runs(db) == 0


async def end_when_triggered(db: Database, queue: MemoryTaskQueue, **values: object) -> None:
    """Stands in for a worker: ends the run as soon as the bell rings."""

    async def handle(_: object) -> None:
        async with db.transaction() as session:
            await session.execute(update(Run).values(status=RunStatus.RUNNING))
            await session.execute(update(Run).values(finished_at=utc_now(), **values))

    await queue.consume(handle, concurrency=1)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("values", "trigger"),
    [
        pytest.param(
            {"status": RunStatus.OK, "stdout": "Run log: x\n"},
            {"status_code": 0, "stdout": "Run log: x\n", "stderr": ""},
            id="well",
        ),
        pytest.param(
            {"status": RunStatus.FAILED, "error": "no ink", "error_kind": "provider"},
            {"status_code": 1, "stdout": "", "stderr": "no ink"},
            id="badly",
        ),
    ],
)
@pytest.mark.usefixtures("root")
async def test_a_preferred_wait_answers_200_with_the_end(
    *,
    client_with: ClientFactory,
    fresh_db: Database,
    queue: MemoryTaskQueue,
    values: dict[str, object],
    trigger: dict[str, object],
) -> None:
    client = client_with(fresh_db, KROMA_API_AUTH_DEV_BYPASS="1")
    await client.post("/api/projects", json={"name": "Comic"})
    worker = asyncio.create_task(end_when_triggered(fresh_db, queue, **values))
    response = await client.post(
        "/api/projects/comic/runs/trigger", json={"input": "scenes"}, headers={"Prefer": "wait=50"}
    )
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)

    body = response.json()
    assert response.status_code == 200
    assert response.headers["preference-applied"] == "wait=50"
    assert "retry-after" not in response.headers
    assert body["run"]["status"] == values["status"]
    assert body["run"]["done"] is True
    assert {key: body["pipeline_trigger"][key] for key in trigger} == trigger


@pytest.mark.parametrize("prefer", ["wait=0", "wait=soon", "respond-async", "wait=-1"])
@pytest.mark.usefixtures("root")
async def test_no_or_a_senseless_wait_answers_202(client: AsyncClient, slug: str, prefer: str) -> None:
    response = await client.post(
        f"/api/projects/{slug}/runs/trigger", json={"input": "scenes"}, headers={"Prefer": prefer}
    )

    assert response.status_code == 202


@pytest.mark.usefixtures("root")
async def test_the_log_is_not_there_before_it_is_written(client: AsyncClient, slug: str) -> None:
    triggered = await client.post(f"/api/projects/{slug}/runs/trigger", json={"input": "scenes"})
    response = await client.get(f"{triggered.headers['location']}/log")

    assert (response.status_code, response.json()["error"]) == (404, "Run log not found")


async def test_the_log_is_read_from_where_the_run_was_even_if_the_project_moved(
    client: AsyncClient, slug: str, root: Path
) -> None:
    triggered = await client.post(f"/api/projects/{slug}/runs/trigger", json={"input": "scenes"})
    run = triggered.json()["run"]
    (root / "runs").mkdir(exist_ok=True)
    (root / run["run_log_path"]).write_text(json.dumps({"jobs": [1]}))
    await client.put(f"/api/projects/{slug}/storage/local", json={"project_root": "elsewhere"})
    response = await client.get(f"{triggered.headers['location']}/log")

    assert response.json() == {"ok": True, "run_id": run["id"], "run_log": {"jobs": [1]}}


async def test_a_log_outside_the_project_is_not_shown(
    client: AsyncClient, slug: str, db: Database, root: Path
) -> None:
    (root.parent / "secret.json").write_text("{}")
    async with db.transaction() as session:
        project = await get_project(session, slug)
        run = Run(project_id=project.id, run_mode="run", status="ok", run_log_path="../secret.json")
        session.add(run)
        await session.flush()
    response = await client.get(f"/api/projects/{slug}/runs/{run.id}/log")

    assert (response.status_code, response.json()["error"]) == (404, "Run log not found")


async def test_a_configuration_without_files_is_valid(client: AsyncClient, slug: str) -> None:
    response = await client.post(f"/api/projects/{slug}/runs/validate-config")

    assert response.json() == {
        "ok": True,
        "summary": {
            "app_settings_loaded": False,
            "project_settings_loaded": False,
            "resolved_manifest_path": None,
            "resolved_postprocess_config_path": None,
        },
    }


async def test_validate_config_looks_for_the_project_first(client: AsyncClient) -> None:
    response = await client.post("/api/projects/missing/runs/validate-config", json={"project_root": "/x"})

    assert (response.status_code, response.json()["error"]) == (404, "Project not found")


async def test_validate_config_refuses_a_root(client: AsyncClient, slug: str) -> None:
    response = await client.post(f"/api/projects/{slug}/runs/validate-config", json={"project_root": "/x"})

    body = response.json()
    assert (response.status_code, body["error_code"]) == (400, "project_root_managed")
    assert body["error"] == "Field 'project_root' is managed by project storage and cannot be overridden"


async def test_validate_config_names_what_does_not_hold(client: AsyncClient, slug: str) -> None:
    response = await client.post(
        f"/api/projects/{slug}/runs/validate-config", json={"manifest_path": "none.json"}
    )

    body = response.json()
    assert (response.status_code, body["error_code"]) == (400, "config_validation_failed")
    assert "planning manifest validation failed" in body["error"]
