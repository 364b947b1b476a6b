"""Contract 3.3."""

import asyncio
import re
from typing import Any
from uuid import UUID

import pytest
from httpx import AsyncClient
from sqlalchemy import select, text

from kroma.audit.models import AuditEvent
from kroma.db.engine import Database
from kroma.projects.models import AppUser
from support.harness.documented_api import ClientFactory

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


async def create(client: AsyncClient, **body: object) -> dict[str, object]:
    response = await client.post("/api/projects", json={"name": "Comic", **body})
    assert response.status_code == 200, response.text
    return response.json()["project"]


async def test_a_new_project_has_a_slug_storage_and_an_audit_event(client: AsyncClient, db: Database) -> None:
    response = await client.post("/api/projects", json={"name": "  Alpha Project  "})

    body = response.json()
    assert response.status_code == 200
    assert body["project"]["slug"] == "alpha_project"
    assert body["project"]["name"] == "Alpha Project"
    assert body["storage"]["local"]["base_dir"] == "var/projects"
    assert body["storage"]["s3"] == {
        "enabled": False,
        "bucket": "",
        "prefix": "iat-projects",
        "region": "",
        "profile": "",
        "endpoint_url": "",
    }
    async with db.transaction() as session:
        event = (await session.scalars(select(AuditEvent))).one()
    assert str(event.id) == body["audit_id"]
    assert event.event_code == "project.upsert"
    assert event.payload_json == {"project_id": body["project"]["id"], "slug": "alpha_project"}
    assert event.actor_user_id is None


@pytest.mark.parametrize("name", [{}, {"name": ""}, {"name": "  "}])
async def test_a_name_is_required(client: AsyncClient, name: dict[str, str]) -> None:
    response = await client.post("/api/projects", json=name)

    assert (response.status_code, response.json()["error"]) == (400, "Field 'name' is required")


@pytest.mark.parametrize(
    ("body", "slug"),
    [
        pytest.param({"name": "Hero Book"}, "hero_book", id="from the name"),
        pytest.param({"name": "Hero", "slug": " My Slug! "}, "my_slug", id="normalized"),
        pytest.param({"name": "Hero", "slug": ""}, "hero", id="blank takes the name"),
        pytest.param({"name": "Hero", "slug": "___"}, "hero", id="not normalisable takes the name"),
        pytest.param({"name": "漫画"}, "project", id="the name is not normalisable"),
        pytest.param({"name": "Hero", "slug": "---"}, "---", id="dashes stay"),
    ],
)
async def test_the_slug_follows_the_contracts_rules(
    client: AsyncClient, body: dict[str, str], slug: str
) -> None:
    assert (await create(client, **body))["slug"] == slug


@pytest.mark.parametrize("field", ["name", "slug", "username", "user_display_name"])
async def test_names_over_200_characters_are_refused(client: AsyncClient, field: str) -> None:
    response = await client.post("/api/projects", json={"name": "x", field: "a" * 201})

    assert response.status_code == 400
    assert response.json()["error"] == f"Field '{field}' must be at most 200 characters"


async def test_posting_again_overwrites_all_but_id_and_creation(client: AsyncClient) -> None:
    first = await create(client, name="Comic", description="old")
    before = (await client.get("/api/projects/comic")).json()["project"]
    second = await create(client, name="COMIC")
    after = (await client.get("/api/projects/comic")).json()["project"]

    assert second["id"] == first["id"]
    assert (after["name"], after["description"], after["status"]) == ("COMIC", "", "active")
    assert after["created_at"] == before["created_at"]


async def test_posting_again_keeps_the_storage(client: AsyncClient) -> None:
    await create(client)
    await client.put("/api/projects/comic/storage/local", json={"base_dir": "elsewhere"})
    response = await client.post("/api/projects", json={"name": "Comic"})

    assert response.json()["storage"]["local"]["base_dir"] == "elsewhere"


async def test_the_slug_of_another_owner_is_taken(client: AsyncClient) -> None:
    await create(client, username="ann")
    response = await client.post("/api/projects", json={"name": "Comic", "username": "bob"})

    assert (response.status_code, response.json()["error_code"]) == (400, "validation_error")
    assert [row["username"] for row in (await client.get("/api/projects")).json()["projects"]] == ["ann"]


@pytest.mark.parametrize(
    ("username", "owner"), [(None, "local"), ("", "local"), ("!!", "local"), ("Ann B", "ann_b")]
)
async def test_the_owner_is_normalised_and_local_by_default(
    client: AsyncClient, username: str | None, owner: str
) -> None:
    await create(client, username=username)

    assert (await client.get("/api/projects")).json()["projects"][0]["username"] == owner


async def test_the_display_name_of_the_owner_is_overwritten_each_time(
    client: AsyncClient, db: Database
) -> None:
    await create(client, user_display_name=" Ann ")
    await create(client, name="Second")

    async with db.transaction() as session:
        assert (await session.scalars(select(AppUser.display_name))).all() == ["Local User"]


async def test_projects_are_listed_by_their_last_change(client: AsyncClient) -> None:
    assert (await client.get("/api/projects")).json() == {
        "ok": True,
        "count": 0,
        "next": None,
        "projects": [],
    }
    for name in ("One", "Two", "One"):
        await create(client, name=name)
    body = (await client.get("/api/projects")).json()

    assert body["count"] == 2
    assert [row["slug"] for row in body["projects"]] == ["one", "two"]
    assert STAMP.fullmatch(body["projects"][0]["updated_at"])


@pytest.mark.parametrize(
    ("username", "slugs"),
    [("ann", ["one"]), (" ANN ", ["one"]), ("nobody", []), ("!!", ["two", "one"]), ("", ["two", "one"])],
)
async def test_the_list_can_be_one_owners(client: AsyncClient, username: str, slugs: list[str]) -> None:
    await create(client, name="One", username="ann")
    await create(client, name="Two", username="bob")
    body = (await client.get("/api/projects", params={"username": username})).json()

    assert [row["slug"] for row in body["projects"]] == slugs


@pytest.mark.parametrize("path", ["comic", "COMIC", "Comic%20", "%5Fcomic"])
async def test_a_slug_in_a_path_is_normalised(client: AsyncClient, slug: str, path: str) -> None:
    response = await client.get(f"/api/projects/{path}")

    body = response.json()
    assert response.status_code == 200
    assert body["project"]["slug"] == slug
    assert body["counts"] == {"runs": 0, "jobs": 0, "assets": 0}
    assert body["storage"]["local"]["base_dir"] == "var/projects"


@pytest.mark.parametrize("path", ["missing", "___", "%F0%9F%8E%A8", "x" * 300])
async def test_an_unknown_project_is_not_found(client: AsyncClient, path: str) -> None:
    response = await client.get(f"/api/projects/{path}")

    body = response.json()
    assert response.status_code == 404
    assert (body["error"], body["error_code"]) == ("Project not found", "not_found")


@pytest.mark.timeout(60)
async def test_parallel_creations_of_one_name_leave_one_row(
    client_with: ClientFactory, fresh_db: Database
) -> None:
    client = client_with(fresh_db, KROMA_API_AUTH_DEV_BYPASS="1")
    responses = await asyncio.gather(
        *(client.post("/api/projects", json={"name": "Comic", "description": str(n)}) for n in range(20))
    )

    assert {response.status_code for response in responses} == {200}
    assert len({response.json()["project"]["id"] for response in responses}) == 1
    assert (await client.get("/api/projects")).json()["count"] == 1


@pytest.mark.timeout(60)
async def test_parallel_owners_of_one_slug_leave_one_project(
    client_with: ClientFactory, fresh_db: Database
) -> None:
    client = client_with(fresh_db, KROMA_API_AUTH_DEV_BYPASS="1")
    responses = await asyncio.gather(
        *(client.post("/api/projects", json={"name": "Comic", "username": f"user{n}"}) for n in range(20))
    )

    assert sorted(response.status_code for response in responses) == [200] + [400] * 19


async def test_the_project_that_other_tests_insert_is_the_one_a_client_makes(
    slug: str, client: AsyncClient, db: Database
) -> None:
    tables = ("app_users", "projects", "project_storage", "project_roots", "audit_events")

    async def taken_away() -> list[list[dict[str, Any]]]:
        async with db.transaction() as session:
            found = [
                [dict(row) for row in (await session.execute(text(f"SELECT * FROM {table}"))).mappings()]  # noqa: S608
                for table in tables
            ]
            for table in reversed(tables):
                await session.execute(text(f"DELETE FROM {table}"))  # noqa: S608
        return [[plain(row) for row in rows] for rows in found]

    def plain(row: dict[str, Any]) -> dict[str, Any]:
        values = {
            name: value for name, value in row.items() if not name.endswith("_at") and value is not None
        }
        return {name: "an id" if isinstance(value, UUID) else value for name, value in values.items()} | (
            {"payload_json": row["payload_json"]["slug"]} if "payload_json" in row else {}
        )

    inserted = await taken_away()
    assert (await client.post("/api/projects", json={"name": "Comic"})).json()["project"]["slug"] == slug
    assert await taken_away() == inserted
