"""Contract 3.4."""

from pathlib import Path

import pytest
from httpx import AsyncClient
from sqlalchemy import select

from kroma.audit.models import AuditEvent
from kroma.db.engine import Database
from support.harness.documented_api import ClientFactory


async def test_the_default_root_is_absolute_below_the_data_directory(
    client: AsyncClient, slug: str, data_dir: Path
) -> None:
    body = (await client.get(f"/api/projects/{slug}/storage")).json()

    assert body["project"]["slug"] == slug
    assert body["storage"]["local"] == {
        "base_dir": "var/projects",
        "project_root": f"{data_dir}/var/projects/comic",
    }


async def test_the_storage_of_an_unknown_project_is_not_found(client: AsyncClient) -> None:
    response = await client.get("/api/projects/missing/storage")

    assert (response.status_code, response.json()["error"]) == (404, "Project not found")


@pytest.mark.parametrize(
    ("body", "base_dir", "project_root"),
    [
        pytest.param({"base_dir": " shelf "}, "shelf", "{data}/shelf/comic", id="base directory"),
        pytest.param({"base_dir": "/srv/k"}, "/srv/k", "/srv/k/comic", id="absolute base directory"),
        pytest.param(
            {"project_root": "/tmp/kroma-storage-demo"},  # noqa: S108 - the contract's own example
            "var/projects",
            "/tmp/kroma-storage-demo",  # noqa: S108
            id="absolute root",
        ),
        pytest.param({"project_root": "r"}, "var/projects", "{data}/r", id="relative root"),
        pytest.param({"base_dir": "b", "project_root": "r"}, "b", "{data}/r", id="both"),
        pytest.param(
            {"base_dir": None, "project_root": "r"}, "var/projects", "{data}/r", id="null is absent"
        ),
    ],
)
async def test_given_fields_are_set_and_shown_resolved(
    *, client: AsyncClient, slug: str, data_dir: Path, body: dict[str, str], base_dir: str, project_root: str
) -> None:
    response = await client.put(f"/api/projects/{slug}/storage/local", json=body)
    local = {"base_dir": base_dir, "project_root": project_root.format(data=data_dir)}

    assert response.status_code == 200
    assert response.json()["updated"] == "local"
    assert response.json()["storage"]["local"] == local
    assert (await client.get(f"/api/projects/{slug}/storage")).json()["storage"]["local"] == local


async def test_a_blank_root_goes_back_to_the_default(client: AsyncClient, slug: str, data_dir: Path) -> None:
    path = f"/api/projects/{slug}/storage/local"
    await client.put(path, json={"project_root": "/srv/elsewhere"})
    response = await client.put(path, json={"project_root": " "})

    assert response.json()["storage"]["local"]["project_root"] == f"{data_dir}/var/projects/comic"


async def test_a_change_is_audited(client: AsyncClient, slug: str, db: Database) -> None:
    response = await client.put(f"/api/projects/{slug}/storage/local", json={"base_dir": "b"})

    async with db.transaction() as session:
        event = (
            await session.scalars(select(AuditEvent).where(AuditEvent.event_code == "storage.local.update"))
        ).one()
    assert str(event.id) == response.json()["audit_id"]
    assert event.payload_json == {"updated": "local"}


@pytest.mark.parametrize("body", [{}, {"base_dir": None}, {"nope": 1}])
async def test_one_of_the_fields_is_needed_before_the_project(client: AsyncClient, body: object) -> None:
    response = await client.put("/api/projects/missing/storage/local", json=body)

    assert response.status_code == 400
    assert response.json()["error"] == "Provide at least one of: base_dir, project_root"


async def test_the_project_is_looked_up_before_a_field_is_judged(client: AsyncClient) -> None:
    response = await client.put("/api/projects/missing/storage/local", json={"base_dir": ""})

    assert (response.status_code, response.json()["error"]) == (404, "Project not found")


async def test_a_blank_base_dir_is_refused_and_changes_nothing(client: AsyncClient, slug: str) -> None:
    path = f"/api/projects/{slug}/storage"
    before = (await client.get(path)).json()
    response = await client.put(f"{path}/local", json={"base_dir": " ", "project_root": "r"})

    assert (response.status_code, response.json()["error"]) == (400, "Field 'base_dir' must not be empty")
    assert (await client.get(path)).json() == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param({"project_root": "/srv/elsewhere"}, "project_root", id="absolute root"),
        pytest.param({"project_root": "../up"}, "project_root", id="dots"),
        pytest.param({"base_dir": "a/../../up"}, "base_dir", id="dots in the middle"),
        pytest.param({"project_root": "link/inner"}, "project_root", id="symlink"),
    ],
)
async def test_where_any_root_is_not_allowed_it_must_stay_in_the_data_directory(
    *, client_with: ClientFactory, slug: str, data_dir: Path, body: dict[str, str], field: str
) -> None:
    (data_dir / "link").symlink_to("/srv")
    client = client_with(KROMA_API_AUTH_DEV_BYPASS="1", KROMA_ALLOW_ANY_ROOT="0")
    response = await client.put(f"/api/projects/{slug}/storage/local", json=body)

    assert response.status_code == 400
    assert f"'{field}'" in response.json()["error"]
    inside = await client.put(
        f"/api/projects/{slug}/storage/local", json={"project_root": f"{data_dir}/inside"}
    )
    assert inside.status_code == 200
