"""``GET P/audit-events``."""

from datetime import UTC, datetime, timedelta

import pytest
from httpx import AsyncClient

from kroma.audit.models import AuditEvent
from kroma.audit.service import record
from kroma.db.engine import Database
from kroma.projects.queries import get_project
from support.harness.documented_api import ClientFactory


async def put_events(db: Database, slug: str, *codes: str) -> None:
    """Events one microsecond apart, the last the newest."""
    start = datetime(2027, 1, 1, tzinfo=UTC)
    async with db.transaction() as session:
        project = await get_project(session, slug)
        for number, code in enumerate(codes):
            session.add(
                AuditEvent(
                    project_id=project.id,
                    event_code=code,
                    payload_json={"number": number},
                    created_at=start + timedelta(microseconds=number),
                )
            )


async def listed(client: AsyncClient, slug: str, query: str = "") -> list[dict[str, object]]:
    body = (await client.get(f"/api/projects/{slug}/audit-events{query}")).json()
    assert body["count"] == len(body["audit_events"])
    return body["audit_events"]


async def test_a_change_is_in_the_trail_under_its_audit_id(client: AsyncClient, slug: str) -> None:
    body = {"provider_code": "openai", "secret_name": "api_key", "secret_value": "x"}
    audit_id = (await client.post(f"/api/projects/{slug}/secrets", json=body)).json()["audit_id"]

    newest, oldest = await listed(client, slug)
    assert (newest["id"], newest["event_code"]) == (audit_id, "secret.upsert")
    assert newest["payload_json"] == {"provider_code": "openai", "secret_name": "api_key"}
    assert newest["actor_user_id"] == ""
    assert oldest["event_code"] == "project.upsert"
    assert oldest["project_id"] == newest["project_id"]


async def test_the_newest_event_is_first_even_within_a_second(
    client: AsyncClient, slug: str, db: Database
) -> None:
    await put_events(db, slug, *(f"e{number}" for number in range(20)))

    codes = [event["event_code"] for event in await listed(client, slug)]
    assert codes == [f"e{number}" for number in reversed(range(20))] + ["project.upsert"]


async def test_an_event_code_keeps_its_events(client: AsyncClient, slug: str, db: Database) -> None:
    await put_events(db, slug, "a.b", "a.c", "a.b")

    assert [event["payload_json"] for event in await listed(client, slug, "?event_code=%20a.b%20")] == [
        {"number": 2},
        {"number": 0},
    ]
    assert await listed(client, slug, "?event_code=a") == []
    assert len(await listed(client, slug, "?event_code=")) == 4


@pytest.mark.parametrize(
    ("limit", "found"), [("1", 1), ("0", 1), ("-5", 1), ("2000", 2000), ("9999", 2000), (None, 500)]
)
async def test_the_limit_is_clamped(
    client: AsyncClient, slug: str, db: Database, limit: str | None, found: int
) -> None:
    await put_events(db, slug, *["x"] * 2001)

    query = "" if limit is None else f"?limit={limit}"
    assert len(await listed(client, slug, query)) == found


async def test_a_limit_that_is_no_number_is_400(client: AsyncClient, slug: str) -> None:
    assert (await client.get(f"/api/projects/{slug}/audit-events?limit=abc")).status_code == 400


async def test_a_projects_trail_is_its_own(client: AsyncClient, slug: str, db: Database) -> None:
    await client.post("/api/projects", json={"name": "Other"})
    async with db.transaction() as session:
        await record(session, code="token.create", project_id=None, actor=None, payload={})

    assert [event["event_code"] for event in await listed(client, slug)] == ["project.upsert"]
    assert [event["event_code"] for event in await listed(client, "other")] == ["project.upsert"]


@pytest.mark.parametrize("slug", ["missing", "___"])
async def test_an_unknown_project_is_not_found(client: AsyncClient, slug: str) -> None:
    response = await client.get(f"/api/projects/{slug}/audit-events")

    assert (response.status_code, response.json()["error"]) == (404, "Project not found")


async def test_the_trail_names_the_tokens_user(client_with: ClientFactory) -> None:
    client = client_with()
    token = (await client.post("/auth/token", json={})).json()["auth_token"]["token"]
    headers = {"Authorization": f"Bearer {token}"}
    await client.post("/api/projects", json={"name": "Own"}, headers=headers)

    body = (await client.get("/api/projects/own/audit-events", headers=headers)).json()
    tokens = (await client.get("/auth/tokens", headers=headers)).json()["auth_tokens"]
    assert body["audit_events"][0]["actor_user_id"] == tokens[0]["user_id"]
    assert (await client.get("/api/projects/own/audit-events")).status_code == 401
