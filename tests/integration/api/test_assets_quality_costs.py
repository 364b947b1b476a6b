"""Contract 3.10 and 3.11, the parts that read."""

from datetime import timedelta
from decimal import Decimal

import pytest
from httpx import AsyncClient

from kroma.assets.models import Asset
from kroma.costs.models import CostEvent
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.projects.queries import get_project
from kroma.quality.models import QualityReport

LISTS = ["assets", "quality-reports", "cost-events"]


async def add_rows(db: Database, slug: str, count: int = 3) -> None:
    now = utc_now()
    async with db.transaction() as session:
        project = await get_project(session, slug)
        for number in range(count):
            shared = {"project_id": project.id, "created_at": now + timedelta(microseconds=number)}
            session.add_all(
                [
                    Asset(
                        **shared,
                        kind="candidate_output",
                        storage_uri=f"file:///{number}.png",
                        rel_path=f"{number}.png",
                    ),
                    QualityReport(
                        **shared, report_type=f"guard_{number}", avg_chroma_exceed=Decimal("1.500000")
                    ),
                    CostEvent(
                        **shared,
                        provider_code="local",
                        event_type=f"event_{number}",
                        total_cost_usd=Decimal("0.040000"),
                    ),
                ]
            )


@pytest.mark.parametrize("resource", LISTS)
async def test_a_new_project_has_none(client: AsyncClient, slug: str, resource: str) -> None:
    response = await client.get(f"/api/projects/{slug}/{resource}")

    key = resource.replace("-", "_")
    assert response.json() == {"ok": True, "count": 0, "next": None, key: []}


@pytest.mark.parametrize("resource", LISTS)
async def test_the_list_of_an_unknown_project_is_not_found(client: AsyncClient, resource: str) -> None:
    response = await client.get(f"/api/projects/missing/{resource}")

    assert (response.status_code, response.json()["error"]) == (404, "Project not found")


@pytest.mark.parametrize(("limit", "count"), [("2", 2), ("0", 1), ("-1", 1), ("99999", 3)])
@pytest.mark.parametrize("resource", LISTS)
async def test_lists_are_newest_first_within_a_clamped_limit(
    *, client: AsyncClient, slug: str, db: Database, resource: str, limit: str, count: int
) -> None:
    await add_rows(db, slug)
    body = (await client.get(f"/api/projects/{slug}/{resource}", params={"limit": limit})).json()

    rows = body[resource.replace("-", "_")]
    newest = rows[0].get("rel_path") or rows[0].get("report_type") or rows[0].get("event_type")
    assert body["count"] == len(rows) == count
    assert "2" in newest


async def test_numbers_are_json_numbers(client: AsyncClient, slug: str, db: Database) -> None:
    await add_rows(db, slug, count=1)
    report = (await client.get(f"/api/projects/{slug}/quality-reports")).json()["quality_reports"][0]
    event = (await client.get(f"/api/projects/{slug}/cost-events")).json()["cost_events"][0]

    assert report["avg_chroma_exceed"] == 1.5
    assert (report["hard_failures"], report["grade"], report["run_id"]) == (0, "", "")
    assert event["total_cost_usd"] == 0.04
    assert (event["units"], event["currency"], event["job_id"]) == (0.0, "USD", "")


async def test_an_assets_detail_equals_its_entry_in_the_list(
    client: AsyncClient, slug: str, db: Database
) -> None:
    await add_rows(db, slug, count=1)
    listed = (await client.get(f"/api/projects/{slug}/assets")).json()["assets"][0]
    detail = (await client.get(f"/api/projects/{slug}/assets/{listed['id']}")).json()["asset"]

    assert detail == listed
    assert (listed["kind"], listed["asset_kind"]) == ("candidate_output", "candidate_output")
    assert (listed["width"], listed["height"], listed["sha256"]) == (None, None, "")
    assert listed["metadata_json"] == {}


@pytest.mark.parametrize("asset_id", ["x", "missing", "0f2d5c9e-4a7b-4c1d-8e3f-5a6b7c8d9e0f"])
async def test_an_unknown_asset_is_not_found(client: AsyncClient, slug: str, asset_id: str) -> None:
    response = await client.get(f"/api/projects/{slug}/assets/{asset_id}")

    assert (response.status_code, response.json()["error"]) == (404, "Asset not found")


async def test_an_asset_of_another_or_no_project_is_not_found(
    client: AsyncClient, slug: str, db: Database
) -> None:
    await add_rows(db, slug, count=1)
    asset_id = (await client.get(f"/api/projects/{slug}/assets")).json()["assets"][0]["id"]
    await client.post("/api/projects", json={"name": "Other"})

    for other in ("other", "missing", "___"):
        response = await client.get(f"/api/projects/{other}/assets/{asset_id}")
        assert (response.status_code, response.json()["error"]) == (404, "Asset not found")


async def test_a_projects_counts_follow_its_rows(client: AsyncClient, slug: str, db: Database) -> None:
    await add_rows(db, slug)
    body = (await client.get(f"/api/projects/{slug}")).json()

    assert body["counts"] == {"runs": 0, "jobs": 0, "assets": 3}
