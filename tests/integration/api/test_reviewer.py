"""A token that may only review: everything that is open to it, with marked money and settings beneath."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import pytest
from httpx import AsyncClient
from sqlalchemy import select, update

from kroma.assets.models import Asset, AssetKind
from kroma.auth.scopes import Scope
from kroma.auth.service import create_token
from kroma.costs.models import CostEvent
from kroma.db.engine import Database
from kroma.ledger.models import CallStatus, ProviderCall
from kroma.projects.queries import get_project
from kroma.quality.models import QualityReport
from kroma.runs.events import write_event
from kroma.runs.models import Run, RunCandidate, RunJob
from kroma_api.http.reviewer_view import for_reviewer
from support.builders.ended_runs import MadeRun, ended_run
from support.harness.documented_api import api_document

pytestmark = pytest.mark.timeout(60)

AMOUNT: Final = Decimal("987.654")
MARKS: Final = ("987.654", "marked-bucket", "marked-profile", "marked-settings", "marked-call")
STREAM: Final = {"Accept": "text/event-stream"}
VIEWS: Final = [
    path
    for path, item in api_document()["paths"].items()
    if {"bearer": ["review"]} in item.get("get", {}).get("security", [])
]


class Marked(NamedTuple):
    """A run with money and settings in it."""

    run: MadeRun
    asset_id: str
    """Of its first picture."""
    log_id: str
    """Of an asset that is a run log."""


@pytest.fixture
async def marked(client: AsyncClient, slug: str, db: Database, root: Path) -> Marked:
    """A run of the project ``slug``, with the marks wherever money and settings are kept."""
    made = await ended_run(client, db, slug, root)
    cost = {"cost_usd": float(AMOUNT), "provider_call_id": "marked-call", "unit_price_usd": float(AMOUNT)}
    problem = f"The project's budget is {AMOUNT} USD a month"
    async with db.transaction() as session:
        project = await get_project(session, slug)
        job = await session.get_one(RunJob, UUID(made.job_id))
        run = await session.get_one(Run, UUID(made.run_id))
        run.estimated_usd = AMOUNT
        run.settings_snapshot_json = {"manifest_path": "marked-settings"}
        run.error = job.error = problem
        job.meta_json = job.meta_json | {"cost_events": [cost], "deep": [{"deeper": cost}]}
        await session.execute(
            update(RunCandidate).where(RunCandidate.job_id == job.id).values(meta_json=cost | {"seed": 7})
        )
        candidate = await session.scalar(
            select(RunCandidate).where(RunCandidate.job_id == job.id, RunCandidate.candidate_index == 1)
        )
        assert candidate is not None
        await write_event(session, run.id, "notice", {"message": problem, **cost})
        asset = Asset(
            project_id=project.id,
            run_id=run.id,
            job_id=job.id,
            candidate_id=candidate.id,
            kind=AssetKind.CANDIDATE_OUTPUT,
            storage_uri="s3://marked-bucket/a.png",
            rel_path=made.outputs[0],
            mime_type="image/png",
            metadata_json=cost,
        )
        of_run = {"project_id": project.id, "run_id": run.id}
        log = Asset(
            project_id=project.id, kind=AssetKind.RUN_LOG, storage_uri="runs/a.json", rel_path="runs/a.json"
        )
        session.add_all(
            [
                asset,
                log,
                QualityReport(**of_run, report_type="image", summary_json={"rank": 1, "spent": cost}),
                CostEvent(
                    **of_run,
                    job_id=job.job_key,
                    provider_code="openai",
                    event_type="image",
                    total_cost_usd=AMOUNT,
                ),
                ProviderCall(
                    **of_run,
                    job_id=job.id,
                    job_key=job.job_key,
                    candidate_index=1,
                    number=1,
                    fence=1,
                    provider_code="openai",
                    model_name="m",
                    operation="image_edit",
                    status=CallStatus.SETTLED,
                    cost_usd=AMOUNT,
                    request_id="marked-call",
                ),
            ]
        )
        project_root = root / "runs"
        project_root.mkdir(exist_ok=True)
        (project_root / "a.json").write_text(f'{{"cost_usd": {AMOUNT}}}')
        await session.flush()
        ids = {"asset": str(asset.id), "log": str(log.id)}
    storage = {"enabled": True, "bucket": "marked-bucket", "profile": "marked-profile"}
    assert (await client.put(f"/api/projects/{slug}/storage/s3", json=storage)).status_code == 200
    return Marked(made, ids["asset"], ids["log"])


async def bearer(db: Database, *scopes: Scope) -> dict[str, str]:
    async with db.transaction() as session:
        return {"Authorization": f"Bearer {(await create_token(session, scopes=scopes)).secret}"}


def addresses(slug: str, marked: Marked) -> list[str]:
    """Every view that the marked rows reach; of the others the lists."""
    known = {
        "slug": slug,
        "run_id": marked.run.run_id,
        "job_id": marked.run.job_id,
        "asset_id": marked.asset_id,
    }
    return [path.format(**known) for path in VIEWS if set(re.findall(r"\{(\w+)\}", path)) <= known.keys()]


async def answers(client: AsyncClient, paths: list[str], headers: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in paths:
        response = await client.get(path, headers=headers)
        assert response.status_code == 200, (path, response.text)
        if not response.headers["content-type"].startswith("image/"):
            found[path] = response.text
    return found


async def test_no_view_shows_money_or_settings(
    *, auth_client: AsyncClient, db: Database, slug: str, root: Path, marked: Marked
) -> None:
    paths = addresses(slug, marked)
    marks = (*MARKS, str(root))

    shown = await answers(auth_client, paths, await bearer(db, Scope.READ))
    hidden = await answers(auth_client, paths, await bearer(db, Scope.REVIEW))
    widened = await answers(auth_client, paths, await bearer(db, Scope.REVIEW, Scope.READ))

    assert {mark for mark in marks if any(mark in text for text in shown.values())} == set(marks)
    assert [(path, mark) for path, text in hidden.items() for mark in marks if mark in text] == []
    assert widened == shown


async def test_a_stream_shows_a_reviewer_what_the_list_does(
    auth_client: AsyncClient, db: Database, slug: str, marked: Marked
) -> None:
    path = f"/api/projects/{slug}/runs/{marked.run.run_id}/events"
    reader, reviewer = await bearer(db, Scope.READ), await bearer(db, Scope.REVIEW)

    assert "987.654" in (await auth_client.get(path, headers=reader | STREAM)).text
    streamed = (await auth_client.get(path, headers=reviewer | STREAM)).text
    listed = (await auth_client.get(path, headers=reviewer)).json()["events"]
    assert "987.654" not in streamed
    assert [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: ")] == listed


async def test_what_a_reviewer_needs_stays(
    *, auth_client: AsyncClient, db: Database, slug: str, root: Path, marked: Marked
) -> None:
    reviewer = await bearer(db, Scope.REVIEW)
    at = f"/api/projects/{slug}"

    detail = (await auth_client.get(f"{at}/runs/{marked.run.run_id}", headers=reviewer)).json()
    project = (await auth_client.get(at, headers=reviewer)).json()
    content = await auth_client.get(f"{at}/assets/{marked.asset_id}/content", headers=reviewer)

    assert detail["run"]["spend"] is None
    assert detail["run"]["error"] == "The project's budget is an amount a month"
    (job,) = detail["jobs"]
    assert (job["job_key"], job["selected_candidate_index"]) == ("style_1_a", 1)
    assert [one["meta_json"] for one in job["candidates"]] == [{"seed": 7}] * 3
    assert project["spend"] is None
    assert set(project["storage"]["local"].values()) == {""}
    assert project["counts"] == {"runs": 1, "jobs": 1, "assets": 2}
    assert content.content == (root / marked.run.outputs[0]).read_bytes()


async def test_a_run_log_is_no_picture(
    auth_client: AsyncClient, db: Database, slug: str, marked: Marked
) -> None:
    reader, reviewer = await bearer(db, Scope.READ), await bearer(db, Scope.REVIEW)
    for path, method in (
        (f"assets/{marked.log_id}/content", "GET"),
        (f"runs/{marked.run.run_id}/log", "GET"),
    ):
        address = f"/api/projects/{slug}/{path}"
        response = await auth_client.request(method, address, headers=reviewer)
        assert (response.status_code, response.json()["error_code"]) == (403, "insufficient_scope")
    log = await auth_client.get(f"/api/projects/{slug}/assets/{marked.log_id}/content", headers=reader)
    assert "987.654" in log.text
    head = await auth_client.head(f"/api/projects/{slug}/assets/{marked.log_id}/content", headers=reviewer)
    assert head.status_code == 403


async def test_the_answer_to_a_choice_shows_no_money(
    auth_client: AsyncClient, db: Database, slug: str, marked: Marked
) -> None:
    at = f"/api/projects/{slug}/runs/{marked.run.run_id}/jobs/{marked.run.job_id}/select"

    chosen = await auth_client.post(at, json={"candidate_index": 2}, headers=await bearer(db, Scope.REVIEW))

    assert (chosen.status_code, chosen.json()["job"]["selected_candidate_index"]) == (200, 2)
    assert [mark for mark in MARKS if mark in chosen.text] == []


async def test_head_has_the_length_of_what_a_reviewer_gets(
    auth_client: AsyncClient, db: Database, slug: str, marked: Marked
) -> None:
    path = f"/api/projects/{slug}/runs/{marked.run.run_id}"
    reviewer = await bearer(db, Scope.REVIEW)

    got, head = [await auth_client.request(method, path, headers=reviewer) for method in ("GET", "HEAD")]

    assert int(head.headers["content-length"]) == len(got.content)
    unchanged = await auth_client.get(path, headers=reviewer | {"If-None-Match": got.headers["ETag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


def test_the_shape_of_json_is_kept() -> None:
    given: Any = [
        {"error": None, "message": "1,234.50 USD left of 2 USD", "n": [1, {"x_usd": 1, "y": "3 USD"}]}
    ]

    assert for_reviewer(given) == [
        {"error": None, "message": "an amount left of an amount", "n": [1, {"y": "3 USD"}]}
    ]
