"""Contract 3.4, PUT storage/s3."""

import pytest
from httpx import AsyncClient
from sqlalchemy import select

from kroma.audit.models import AuditEvent
from kroma.db.engine import Database

DEFAULTS = {
    "enabled": False,
    "bucket": "",
    "prefix": "iat-projects",
    "region": "",
    "profile": "",
    "endpoint_url": "",
}
GIVEN = {
    "enabled": True,
    "bucket": "b",
    "prefix": "p",
    "region": "r",
    "profile": "me",
    "endpoint_url": "not a url",
}


@pytest.fixture
def path(slug: str) -> str:
    return f"/api/projects/{slug}/storage"


@pytest.mark.parametrize("field", GIVEN)
async def test_a_given_field_is_set_and_the_rest_kept(client: AsyncClient, path: str, field: str) -> None:
    value = GIVEN[field]
    sent = f" {value} " if isinstance(value, str) else value
    response = await client.put(f"{path}/s3", json={field: sent})
    storage = response.json()["storage"]

    assert response.status_code == 200
    assert response.json().keys() == {"ok", "project", "storage", "updated", "audit_id"}
    assert response.json()["updated"] == "s3"
    assert response.json()["project"]["slug"] == "comic"
    assert storage["s3"] == DEFAULTS | {field: value}
    assert (await client.get(path)).json()["storage"] == storage


async def test_blank_clears_and_null_keeps(client: AsyncClient, path: str) -> None:
    await client.put(f"{path}/s3", json=GIVEN)
    kept = await client.put(f"{path}/s3", json=dict.fromkeys(GIVEN))
    blanks = dict.fromkeys(("bucket", "prefix", "region", "profile", "endpoint_url"), " ")
    cleared = await client.put(f"{path}/s3", json=blanks)

    assert kept.json()["storage"]["s3"] == GIVEN
    assert cleared.json()["storage"]["s3"] == DEFAULTS | {"enabled": True}


async def test_the_local_storage_is_kept(client: AsyncClient, path: str) -> None:
    await client.put(f"{path}/local", json={"base_dir": "b"})
    response = await client.put(f"{path}/s3", json=GIVEN)

    assert response.json()["storage"]["local"]["base_dir"] == "b"


@pytest.mark.parametrize("body", [{}, {"unknown": 1}, GIVEN])
async def test_every_change_is_audited_even_an_empty_one(
    client: AsyncClient, path: str, db: Database, body: dict[str, object]
) -> None:
    response = await client.put(f"{path}/s3", json=body)

    async with db.transaction() as session:
        event = (
            await session.scalars(select(AuditEvent).where(AuditEvent.event_code == "storage.s3.update"))
        ).one()
    assert str(event.id) == response.json()["audit_id"]
    assert event.payload_json == {"updated": "s3"}


@pytest.mark.parametrize("slug", ["missing", "___"])
@pytest.mark.parametrize("body", [{}, GIVEN])
async def test_an_unknown_project_is_not_found(
    client: AsyncClient, slug: str, body: dict[str, object]
) -> None:
    response = await client.put(f"/api/projects/{slug}/storage/s3", json=body)

    assert (response.status_code, response.json()["error"]) == (404, "Project not found")


@pytest.mark.parametrize(("field", "value"), [("enabled", "true"), ("enabled", 1), ("bucket", 1)])
async def test_a_field_of_the_wrong_type_is_refused(
    client: AsyncClient, path: str, field: str, value: object
) -> None:
    response = await client.put(f"{path}/s3", json={field: value})

    assert response.status_code == 422
    assert (await client.get(path)).json()["storage"]["s3"] == DEFAULTS
