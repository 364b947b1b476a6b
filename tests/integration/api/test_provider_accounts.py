"""Contract 3.13."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from httpx import AsyncClient
from sqlalchemy import select

from kroma.audit.models import AuditEvent
from kroma.auth.models import ApiToken
from kroma.db.engine import Database
from support.harness.documented_api import ClientFactory

FIELDS = "display_name, account_ref, base_url, enabled, config_json"
NOT_FOUND = (404, "Provider account not found")


@pytest.fixture
def path(slug: str) -> str:
    return f"/api/projects/{slug}/provider-accounts"


async def upsert(client: AsyncClient, path: str, **fields: object) -> dict[str, Any]:
    response = await client.post(path, json={"provider_code": "openai", **fields})
    assert response.status_code == 200, response.text
    return response.json()["provider_account"]


async def events(db: Database) -> list[AuditEvent]:
    async with db.transaction() as session:
        statement = select(AuditEvent).where(AuditEvent.event_code.startswith("provider_account."))
        return list(await session.scalars(statement.order_by(AuditEvent.created_at)))


async def test_a_new_project_has_none(client: AsyncClient, path: str) -> None:
    assert (await client.get(path)).json() == {"ok": True, "count": 0, "next": None, "provider_accounts": []}


@pytest.mark.parametrize("slug", ["missing", "___"])
async def test_the_accounts_of_an_unknown_project_are_not_found(client: AsyncClient, slug: str) -> None:
    response = await client.get(f"/api/projects/{slug}/provider-accounts")

    assert (response.status_code, response.json()["error"]) == (404, "Project not found")


async def test_a_new_account_has_defaults_and_is_shown_in_detail_and_list(
    client: AsyncClient, path: str
) -> None:
    response = await client.post(path, json={"provider_code": " OpenAI "})
    account = response.json()["provider_account"]

    assert response.json().keys() == {"ok", "provider_account", "audit_id"}
    assert account | dict.fromkeys(("project_id", "created_at", "updated_at")) == {
        "project_id": None,
        "provider_code": "openai",
        "display_name": "openai",
        "account_ref": "",
        "base_url": "",
        "enabled": True,
        "config_json": {},
        "created_at": None,
        "updated_at": None,
    }
    assert (await client.get(f"{path}/openai")).json() == {"ok": True, "provider_account": account}
    assert (await client.get(path)).json() == {
        "ok": True,
        "count": 1,
        "next": None,
        "provider_accounts": [account],
    }


@pytest.mark.parametrize(
    "body", [{}, {"provider_code": ""}, {"provider_code": " "}, {"provider_code": "!?_"}]
)
async def test_a_code_is_required_before_the_project_is_looked_up(
    client: AsyncClient, body: dict[str, str]
) -> None:
    response = await client.post("/api/projects/missing/provider-accounts", json=body)

    assert (response.status_code, response.json()["error"]) == (400, "Field 'provider_code' is required")


async def test_null_for_the_code_has_the_wrong_shape(client: AsyncClient, path: str) -> None:
    assert (await client.post(path, json={"provider_code": None})).status_code == 422


async def test_nothing_is_created_in_an_unknown_project(client: AsyncClient) -> None:
    response = await client.post("/api/projects/missing/provider-accounts", json={"provider_code": "x"})

    assert (response.status_code, response.json()["error"]) == (404, "Project not found")


@pytest.mark.parametrize("field", ["provider_code", "display_name"])
async def test_codes_and_names_over_200_characters_are_refused(
    client: AsyncClient, path: str, field: str
) -> None:
    response = await client.post(path, json={"provider_code": "x", field: "a" * 201})

    assert response.status_code == 400
    assert response.json()["error"] == f"Field '{field}' must be at most 200 characters"


async def test_posting_again_resets_what_is_not_given_and_keeps_the_creation(
    client: AsyncClient, path: str
) -> None:
    first = await upsert(
        client,
        path,
        display_name="Mine",
        account_ref="org",
        base_url="http://x",
        enabled=False,
        config_json={"k": 1},
    )
    second = await upsert(client, path, provider_code="OPENAI", account_ref=" ")

    assert (first["display_name"], first["enabled"], first["config_json"]) == ("Mine", False, {"k": 1})
    assert second | {"updated_at": ""} == {
        "project_id": first["project_id"],
        "provider_code": "openai",
        "display_name": "openai",
        "account_ref": "",
        "base_url": "",
        "enabled": True,
        "config_json": {},
        "created_at": first["created_at"],
        "updated_at": "",
    }
    assert (await client.get(path)).json()["count"] == 1


async def test_null_counts_as_absent(client: AsyncClient, path: str) -> None:
    nulls = dict.fromkeys(("display_name", "account_ref", "base_url", "enabled", "config_json"))
    account = await upsert(client, path, **nulls)
    changed = (await client.put(f"{path}/openai", json=nulls | {"enabled": False})).json()

    assert (account["display_name"], account["enabled"], account["config_json"]) == ("openai", True, {})
    assert changed["provider_account"]["display_name"] == "openai"
    assert changed["provider_account"]["config_json"] == {}


@pytest.mark.parametrize("value", [[], "text", 0, False, {"a": None}])
async def test_the_configuration_may_be_any_json(client: AsyncClient, path: str, value: object) -> None:
    assert (await upsert(client, path, config_json=value))["config_json"] == value
    changed = await client.put(f"{path}/openai", json={"config_json": [value]})

    assert changed.json()["provider_account"]["config_json"] == [value]


async def test_accounts_are_listed_by_code(client: AsyncClient, path: str) -> None:
    for code in ("ab", "a_b", "zeta", "a-b", "Mid Way", "a1"):
        await upsert(client, path, provider_code=code)
    listed = (await client.get(path)).json()["provider_accounts"]

    assert [account["provider_code"] for account in listed] == [
        "a-b",
        "a1",
        "a_b",
        "ab",
        "mid_way",
        "zeta",
    ]


@pytest.mark.parametrize("code", ["openai", "OpenAI", "%20OPENAI%20", "openai!"])
async def test_the_code_in_the_path_is_normalised(client: AsyncClient, path: str, code: str) -> None:
    await upsert(client, path)

    assert (await client.get(f"{path}/{code}")).json()["provider_account"]["provider_code"] == "openai"
    assert (await client.put(f"{path}/{code}", json={"enabled": False})).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize(
    ("project", "code", "expected"),
    [
        pytest.param("comic", "missing", NOT_FOUND, id="unknown account"),
        pytest.param("other", "openai", NOT_FOUND, id="account of another project"),
        pytest.param("missing", "openai", NOT_FOUND, id="unknown project"),
        pytest.param("___", "___", NOT_FOUND, id="the slug cannot be normalized"),
        pytest.param(
            "missing", "___", (400, "Field 'provider_code' is required"), id="the code before the project"
        ),
        pytest.param("comic", "!", (400, "Field 'provider_code' is required"), id="the code alone"),
        pytest.param("comic", "x" * 5000, NOT_FOUND, id="a code nobody can have"),
    ],
)
async def test_an_account_is_looked_up_in_the_contracts_order(
    *, client: AsyncClient, path: str, method: str, project: str, code: str, expected: tuple[int, str]
) -> None:
    await upsert(client, path)
    await client.post("/api/projects", json={"name": "Other"})
    url = f"/api/projects/{project}/provider-accounts/{code}"
    response = await client.request(method, url, json={"display_name": ""} if method == "PUT" else None)

    assert (response.status_code, response.json()["error"]) == expected


@pytest.mark.parametrize("code", ["missing", "___"])
@pytest.mark.parametrize("body", [{}, {"enabled": None}, {"provider_code": "x"}])
async def test_a_change_needs_a_field_before_anything_is_looked_up(
    client: AsyncClient, body: dict[str, object], code: str
) -> None:
    response = await client.put(f"/api/projects/missing/provider-accounts/{code}", json=body)

    assert (response.status_code, response.json()["error"]) == (400, f"Provide at least one of: {FIELDS}")


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"display_name": " New "}, {"display_name": "New"}),
        ({"account_ref": " ref "}, {"account_ref": "ref"}),
        ({"base_url": "not a url"}, {"base_url": "not a url"}),
        ({"account_ref": "", "base_url": " "}, {"account_ref": "", "base_url": ""}),
        ({"enabled": False}, {"enabled": False}),
        ({"config_json": {"new": 1}}, {"config_json": {"new": 1}}),
    ],
)
async def test_a_change_sets_the_given_fields_and_keeps_the_rest(
    *, client: AsyncClient, path: str, change: dict[str, object], shown: dict[str, object]
) -> None:
    account = await upsert(
        client, path, display_name="d", account_ref="a", base_url="b", config_json={"c": 1}
    )
    response = await client.put(f"{path}/openai", json=change)
    changed = response.json()["provider_account"]

    assert changed == account | shown | {"updated_at": changed["updated_at"]}
    assert (await client.get(f"{path}/openai")).json()["provider_account"] == changed


async def test_a_display_name_cannot_be_cleared(client: AsyncClient, path: str) -> None:
    account = await upsert(client, path, display_name="d")
    response = await client.put(f"{path}/openai", json={"enabled": False, "display_name": " "})

    assert (response.status_code, response.json()["error"]) == (400, "Field 'display_name' is required")
    assert (await client.get(f"{path}/openai")).json()["provider_account"] == account


async def test_a_deleted_account_is_gone_and_named_as_in_the_path(client: AsyncClient, path: str) -> None:
    await upsert(client, path)
    response = await client.delete(f"{path}/Open%20AI")
    deleted = await client.delete(f"{path}/%20OpenAI")

    assert response.status_code == 404
    body = deleted.json()
    assert body == {
        "ok": True,
        "deleted": True,
        "provider_code": " OpenAI",
        "audit_id": body["audit_id"],
    }
    assert (await client.get(f"{path}/openai")).status_code == 404
    assert (await client.get(path)).json()["count"] == 0


async def test_every_change_is_audited(client: AsyncClient, path: str, db: Database) -> None:
    replies = [
        await client.post(path, json={"provider_code": "OpenAI"}),
        await client.post(path, json={"provider_code": "OpenAI"}),
        await client.put(f"{path}/OPENAI", json={"enabled": True}),
        await client.delete(f"{path}/OpenAI"),
    ]
    written = await events(db)

    assert [str(event.id) for event in written] == [reply.json()["audit_id"] for reply in replies]
    assert [event.event_code.partition(".")[2] for event in written] == [
        "upsert",
        "upsert",
        "update",
        "delete",
    ]
    assert {event.actor_user_id for event in written} == {None}
    assert all(event.payload_json == {"provider_code": "openai"} for event in written)
    project = (await client.get("/api/projects/comic")).json()["project"]
    assert {event.project_id for event in written} == {UUID(project["id"])}


async def test_the_actor_is_the_tokens_user(auth_client: AsyncClient, db: Database) -> None:
    token = (await auth_client.post("/auth/token", json={})).json()["auth_token"]["token"]
    headers = {"Authorization": f"Bearer {token}"}
    await auth_client.post("/api/projects", json={"name": "Comic"}, headers=headers)
    await auth_client.post(
        "/api/projects/comic/provider-accounts", json={"provider_code": "x"}, headers=headers
    )

    async with db.transaction() as session:
        user_id = await session.scalar(select(ApiToken.user_id))
    assert [event.actor_user_id for event in await events(db)] == [user_id]


async def test_what_is_refused_or_only_read_is_not_audited(
    client: AsyncClient, path: str, db: Database
) -> None:
    await client.get(path)
    await client.post(path, json={})
    await client.put(f"{path}/openai", json={"enabled": False})
    await client.delete(f"{path}/openai")

    assert await events(db) == []


@pytest.mark.timeout(120)
async def test_50_parallel_upserts_of_one_code_leave_one_row(
    client_with: ClientFactory, fresh_db: Database
) -> None:
    client = client_with(fresh_db, KROMA_API_AUTH_DEV_BYPASS="1")
    await client.post("/api/projects", json={"name": "Comic"})
    path = "/api/projects/comic/provider-accounts"
    responses = await asyncio.gather(
        *(client.post(path, json={"provider_code": "OpenAI", "account_ref": str(n)}) for n in range(50))
    )

    assert {response.status_code for response in responses} == {200}
    assert (await client.get(path)).json()["count"] == 1
    assert len(await events(fresh_db)) == 50
