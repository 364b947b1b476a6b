"""Choosing candidates and locking baselines over HTTP; what it does to work is tested beside the worker."""

import hashlib
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from httpx import AsyncClient

from kroma.db.engine import Database
from support.builders.ended_runs import ended_run

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("root")]


async def test_a_chosen_candidate_is_shown_and_reviewed(
    client: AsyncClient, slug: str, db: Database, root: Path
) -> None:
    made = await ended_run(client, db, slug, root)
    at = f"/api/projects/{slug}/runs/{made.run_id}/jobs/{made.job_id}/select"

    response = await client.post(at, json={"candidate_index": 2, "note": "better hands"})

    reply = response.json()
    assert (response.status_code, reply["follow_up"]) == (200, None)
    assert reply["job"]["selected_candidate_index"] == 2
    assert reply["job"]["final_output"] == made.outputs[1]
    reports = (await client.get(f"/api/projects/{slug}/quality-reports")).json()["quality_reports"]
    (review,) = [report for report in reports if report["id"] == reply["quality_report_id"]]
    assert (review["report_type"], review["grade"]) == ("human_review", "approved")
    assert review["summary_json"]["note"] == "better hands"
    events = (await client.get(f"/api/projects/{slug}/runs/{made.run_id}/events")).json()["events"]
    assert events[-1]["data"]["notice"] == "candidate_selected"


async def test_post_processing_of_a_choice_is_queued_and_shown(
    client: AsyncClient, slug: str, db: Database, root: Path
) -> None:
    made = await ended_run(client, db, slug, root, postprocess={"color": True})
    at = f"/api/projects/{slug}/runs/{made.run_id}/jobs/{made.job_id}/select"

    first = await client.post(at, json={"candidate_index": 2})
    again = await client.post(at, json={"candidate_index": 2})

    assert (first.status_code, again.status_code) == (202, 202)
    run = first.json()["follow_up"]["run"]
    assert first.headers["Location"] == first.json()["follow_up"]["links"]["self"]
    assert again.json()["follow_up"]["run"]["id"] == run["id"]
    detail = (await client.get(first.headers["Location"])).json()
    assert detail["run"]["origin"] == {"run_id": made.run_id, "kind": "select"}
    assert [job["job_key"] for job in detail["jobs"]] == ["style_1_a"]


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        pytest.param({}, 400, "Field 'candidate_index' is required", id="no index"),
        pytest.param({"candidate_index": "2"}, 422, "Field 'candidate_index': Expected int", id="a text"),
        pytest.param(
            {"candidate_index": 9}, 400, "of a candidate of job 'style_1_a': 1, 2, 3", id="an unknown index"
        ),
        pytest.param(
            {"candidate_index": 3}, 409, "Candidate 3 of job 'style_1_a' has no picture", id="a failed one"
        ),
    ],
)
async def test_what_cannot_be_chosen_is_named(
    *, client: AsyncClient, slug: str, db: Database, root: Path, body: Any, status: int, error: str
) -> None:
    made = await ended_run(client, db, slug, root)

    response = await client.post(
        f"/api/projects/{slug}/runs/{made.run_id}/jobs/{made.job_id}/select", json=body
    )

    assert response.status_code == status
    assert error in response.json()["error"]


async def test_nothing_is_chosen_or_locked_before_the_end(client: AsyncClient, slug: str) -> None:
    body = {"mode": "run", "confirm_spend": True, "scene_refs": ["scenes/a.png"]}
    run_id = (await client.post(f"/api/projects/{slug}/runs/trigger", json=body)).json()["run"]["id"]
    at = f"/api/projects/{slug}/runs/{run_id}"
    (job,) = (await client.get(at)).json()["jobs"]

    chosen = await client.post(f"{at}/jobs/{job['id']}/select", json={"candidate_index": 1})
    locked = await client.post(f"{at}/lock-baseline", json={})

    assert (chosen.status_code, chosen.json()["error_code"]) == (409, "candidate_not_selectable")
    assert (locked.status_code, locked.json()["error_code"]) == (409, "baseline_not_lockable")


async def test_what_is_nobodys_or_another_projects_is_not_found(
    client: AsyncClient, slug: str, db: Database, root: Path
) -> None:
    made = await ended_run(client, db, slug, root)
    other = (await client.post("/api/projects", json={"name": "Other"})).json()["project"]["slug"]
    body = {"candidate_index": 1}
    for path, error in (
        (f"{slug}/runs/{uuid4()}/jobs/{made.job_id}/select", "Run not found"),
        (f"{other}/runs/{made.run_id}/jobs/{made.job_id}/select", "Run not found"),
        (f"missing/runs/{made.run_id}/jobs/{made.job_id}/select", "Run not found"),
        (f"{slug}/runs/{made.run_id}/jobs/{uuid4()}/select", "Job not found"),
        (f"{slug}/runs/{made.run_id}/jobs/x/select", "Job not found"),
        (f"{slug}/runs/{uuid4()}/lock-baseline", "Run not found"),
        (f"{other}/runs/{made.run_id}/lock-baseline", "Run not found"),
    ):
        response = await client.post(f"/api/projects/{path}", json=body)
        assert (response.status_code, response.json()["error"]) == (404, error), path
    assert (await client.get("/api/projects/missing/baselines")).status_code == 404


async def test_baselines_are_locked_listed_and_kept(
    client: AsyncClient, slug: str, db: Database, root: Path
) -> None:
    made = await ended_run(client, db, slug, root)
    at = f"/api/projects/{slug}"
    lock = f"{at}/runs/{made.run_id}/lock-baseline"

    first = (await client.post(lock, json={"note": "approved"})).json()
    same = (await client.post(lock, json={"job_keys": ["style_1_a"]})).json()
    select = f"{at}/runs/{made.run_id}/jobs/{made.job_id}/select"
    await client.post(select, json={"candidate_index": 2})
    second = (await client.post(lock, json={})).json()

    (baseline,) = first["baselines"]
    scene = (root / "scenes" / "a.png").read_bytes()
    assert baseline["scene_sha256"] == hashlib.sha256(scene).hexdigest()
    assert (baseline["path"], baseline["note"], baseline["current"]) == (made.outputs[0], "approved", True)
    assert (same["baselines"], same["audit_id"]) == ([baseline], "")
    current = (await client.get(f"{at}/baselines")).json()
    assert [row["path"] for row in current["baselines"]] == [made.outputs[1]]
    history = (await client.get(f"{at}/baselines?history=1")).json()
    assert [(row["candidate_index"], row["current"]) for row in history["baselines"]] == [
        (2, True),
        (1, False),
    ]
    assert second["audit_id"]
    page = (await client.get(f"{at}/baselines?history=1&limit=1")).json()
    rest = (await client.get(f"{at}/baselines?history=1&limit=1&after={page['next']}")).json()
    assert [page["baselines"][0], rest["baselines"][0]] == history["baselines"]


async def test_a_job_that_is_none_cannot_be_locked(
    client: AsyncClient, slug: str, db: Database, root: Path
) -> None:
    made = await ended_run(client, db, slug, root)

    response = await client.post(
        f"/api/projects/{slug}/runs/{made.run_id}/lock-baseline", json={"job_keys": ["style_7_x"]}
    )

    assert (response.status_code, response.json()["error_code"]) == (400, "invalid_request")
    assert "the run has no job 'style_7_x'; its jobs are: style_1_a" in response.json()["error"]


async def test_the_same_key_chooses_once(client: AsyncClient, slug: str, db: Database, root: Path) -> None:
    made = await ended_run(client, db, slug, root)
    at = f"/api/projects/{slug}/runs/{made.run_id}/jobs/{made.job_id}/select"
    key = {"Idempotency-Key": "choice-1"}

    first = await client.post(at, json={"candidate_index": 2}, headers=key)
    again = await client.post(at, json={"candidate_index": 2}, headers=key)

    assert again.headers["Idempotent-Replayed"] == "true"
    assert first.json() == again.json()
    reports = (await client.get(f"/api/projects/{slug}/quality-reports")).json()["quality_reports"]
    assert [report["report_type"] for report in reports].count("human_review") == 1


async def test_a_quote_carries_words_references_and_sources(
    client: AsyncClient, slug: str, db: Database, root: Path
) -> None:
    made = await ended_run(client, db, slug, root)
    at = f"/api/projects/{slug}"
    await client.post(f"{at}/runs/{made.run_id}/lock-baseline", json={})
    guide = (await client.post(f"{at}/style-guides", json={"name": "Ink", "instructions": "Bold"})).json()
    sheet = (await client.post(f"{at}/reference-sets", json={"name": "Mara"})).json()["reference_set"]["id"]
    item = {"label": "Face", "content_uri": "scenes/b.png", "content_text": "a scar"}
    await client.post(f"{at}/reference-sets/{sheet}/items", json=item)
    body = {
        "baseline_run_id": made.run_id,
        "stage": "character",
        "style_guide_id": guide["style_guide"]["id"],
        "reference_set_ids": [sheet],
        "postprocess": {"color": False},
    }

    quoted = (await client.post(f"{at}/runs/quote", json=body)).json()
    triggered = await client.post(f"{at}/runs/trigger", json={**body, "quote_token": quoted["quote_token"]})

    plan = quoted["quote"]["plan"]
    assert plan["reference_refs"] == ["scenes/b.png"]
    (job,) = plan["jobs"]
    assert (job["job_key"], job["scene"]) == ("character_1_a", made.outputs[0])
    assert job["baseline"] == made.outputs[0]
    assert "Bold. Face: a scar." in job["prompt"]
    assert triggered.status_code == 202
    changed = {**item, "content_text": "two scars"}
    await client.post(f"{at}/reference-sets/{sheet}/items", json=changed)
    late = await client.post(f"{at}/runs/trigger", json={**body, "quote_token": quoted["quote_token"]})
    assert (late.status_code, late.json()["error_code"]) == (409, "plan_changed")


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        pytest.param({}, 400, "Provide one of: input, scene_refs", id="no source"),
        pytest.param({"baseline_run_id": " "}, 400, "Provide one of: input, scene_refs", id="a blank run"),
        pytest.param(
            {"baseline_run_id": "x", "input": "scenes"},
            400,
            "Provide only one of: input, baseline_run_id",
            id="two sources",
        ),
        pytest.param({"baseline_run_id": "x"}, 400, "Field 'baseline_run_id'", id="an unknown run"),
        pytest.param(
            {"input": "scenes", "style_guide_id": ""},
            400,
            "Field 'style_guide_id' must not be empty",
            id="a blank guide",
        ),
        pytest.param(
            {"input": "scenes", "character_ids": [" "]},
            400,
            "Field 'character_ids' must not contain empty values",
            id="a blank character",
        ),
        pytest.param(
            {"input": "scenes", "stage": "character", "time": "night"},
            400,
            "Field 'time' requires stage 'time' or 'weather'",
            id="a time in stage character",
        ),
        pytest.param({"input": "scenes", "character_ids": "x"}, 422, "Field 'character_ids'", id="no list"),
        pytest.param({"input": "scenes", "postprocess": {"tint": True}}, 422, "tint", id="an unknown switch"),
    ],
)
async def test_what_a_trigger_cannot_have_is_named(
    *, client: AsyncClient, slug: str, body: Any, status: int, error: str
) -> None:
    response = await client.post(f"/api/projects/{slug}/runs/trigger", json=body)

    assert response.status_code == status
    assert error in response.json()["error"]
