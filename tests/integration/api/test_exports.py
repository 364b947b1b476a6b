"""Contract 3.11, exports."""

from datetime import UTC, datetime, timedelta

import pytest
from httpx import AsyncClient

from kroma.db.engine import Database
from kroma.exports.models import ProjectExport
from kroma.projects.queries import get_project

NOON = datetime(2027, 1, 31, 12, 0, 0, tzinfo=UTC)


async def add_exports(db: Database, slug: str, count: int = 3) -> list[str]:
    async with db.transaction() as session:
        project = await get_project(session, slug)
        exports = [
            ProjectExport(
                project_id=project.id,
                status="queued",
                export_format="zip",
                created_at=NOON + timedelta(microseconds=n),
            )
            for n in range(count)
        ]
        session.add_all(exports)
        await session.flush()
        return [str(export.id) for export in exports]


async def test_a_new_project_has_none(client: AsyncClient, slug: str) -> None:
    response = await client.get(f"/api/projects/{slug}/exports")

    assert response.json() == {"ok": True, "count": 0, "next": None, "exports": []}


async def test_the_exports_of_an_unknown_project_are_not_found(client: AsyncClient) -> None:
    response = await client.get("/api/projects/missing/exports")

    assert (response.status_code, response.json()["error"]) == (404, "Project not found")


async def test_what_is_not_known_yet_shows_as_empty(client: AsyncClient, slug: str, db: Database) -> None:
    export_id = (await add_exports(db, slug, 1))[0]
    export = (await client.get(f"/api/projects/{slug}/exports/{export_id}")).json()["export"]
    project = (await client.get(f"/api/projects/{slug}")).json()["project"]

    assert export == {
        "id": export_id,
        "project_id": project["id"],
        "run_id": "",
        "status": "queued",
        "export_format": "zip",
        "storage_uri": "",
        "rel_path": "",
        "file_size_bytes": 0,
        "checksum_sha256": "",
        "manifest_json": {},
        "created_at": "2027-01-31T12:00:00Z",
        "completed_at": "",
    }
    assert (await client.get(f"/api/projects/{slug}/exports")).json()["exports"] == [export]


@pytest.mark.parametrize(("limit", "count"), [(None, 3), ("2", 2), ("0", 1), ("-1", 1), ("99999", 3)])
async def test_exports_are_newest_first_within_a_clamped_limit(
    *, client: AsyncClient, slug: str, db: Database, limit: str | None, count: int
) -> None:
    ids = await add_exports(db, slug)
    query = {} if limit is None else {"limit": limit}
    body = (await client.get(f"/api/projects/{slug}/exports", params=query)).json()

    assert [export["id"] for export in body["exports"]] == list(reversed(ids))[:count]
    assert body["count"] == count


@pytest.mark.parametrize("limit", ["abc", "", "1.5"])
async def test_a_limit_is_a_number(client: AsyncClient, slug: str, limit: str) -> None:
    response = await client.get(f"/api/projects/{slug}/exports", params={"limit": limit})

    assert response.status_code == 400


@pytest.mark.parametrize("export_id", ["x", "0f2d5c9e-4a7b-4c1d-8e3f-5a6b7c8d9e0f"])
async def test_an_unknown_export_is_not_found(client: AsyncClient, slug: str, export_id: str) -> None:
    response = await client.get(f"/api/projects/{slug}/exports/{export_id}")

    assert (response.status_code, response.json()["error"]) == (404, "Project export not found")


async def test_an_export_of_another_or_no_project_is_not_found(
    client: AsyncClient, slug: str, db: Database
) -> None:
    export_id = (await add_exports(db, slug, 1))[0]
    await client.post("/api/projects", json={"name": "Other"})

    for other in ("other", "missing", "___"):
        response = await client.get(f"/api/projects/{other}/exports/{export_id}")
        assert (response.status_code, response.json()["error"]) == (404, "Project export not found")
