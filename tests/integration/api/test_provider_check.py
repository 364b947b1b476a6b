"""``POST P/provider-accounts/{code}/check``: whether key and address work, at no cost."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import AsyncClient
from sqlalchemy import select

from kroma.db.engine import Database
from kroma.ledger.models import ProviderGate
from kroma.ledger.provider_limits import pause_provider
from kroma.projects.models import Project
from support.doubles.openai_double import OpenAIDouble, served
from support.harness.documented_api import ClientFactory

pytestmark = pytest.mark.timeout(60)

BYPASS = {"KROMA_API_AUTH_DEV_BYPASS": "1"}
KEY = "sk-project-4d1f"
OTHER_KEY = "sk-environment-77"


@pytest.fixture
async def double() -> AsyncIterator[OpenAIDouble]:
    async with served() as server:
        yield server


@pytest.fixture
def client(client_with: ClientFactory) -> AsyncClient:
    return client_with(**BYPASS, KROMA_URL_ALLOW="127.0.0.0/8")


@pytest.fixture
def path(slug: str) -> str:
    return f"/api/projects/{slug}/provider-accounts"


async def account(client: AsyncClient, path: str, **fields: object) -> None:
    assert (await client.post(path, json={"provider_code": "openai", **fields})).status_code == 200


async def secret(client: AsyncClient, path: str, value: str = KEY) -> None:
    body = {"provider_code": "openai", "secret_name": "api_key", "secret_value": value}
    response = await client.post(path.replace("provider-accounts", "secrets"), json=body)
    assert response.status_code == 200, response.text


async def checked(client: AsyncClient, path: str, code: str = "openai") -> dict[str, Any]:
    response = await client.post(f"{path}/{code}/check")
    assert response.status_code == 200, response.text
    assert KEY not in response.text
    assert OTHER_KEY not in response.text
    body = response.json()
    assert (body["ok"], body["provider_code"]) == (True, "openai" if "penai" in code.lower() else code)
    assert body["check"]["checked_at"]
    return body["check"]


async def test_the_key_and_address_of_a_project_are_found_to_work(
    client: AsyncClient, path: str, double: OpenAIDouble
) -> None:
    await account(client, path, base_url=double.url)
    await secret(client, path)

    check = await checked(client, path, " OpenAI ".strip())

    assert (check["works"], check["code"]) == (True, "well")
    assert check["latency_ms"] >= 0
    assert [seen["authorization"] for seen in double.checks] == [f"Bearer {KEY}"]
    assert double.calls == double.billed == []


@pytest.mark.parametrize("code", ["local", "fake"])
async def test_a_free_provider_is_always_well(client: AsyncClient, path: str, code: str) -> None:
    assert (await checked(client, path, code))["works"] is True


async def test_a_refused_key_is_said_to_be_one(client: AsyncClient, path: str, double: OpenAIDouble) -> None:
    await account(client, path, base_url=double.url)
    await secret(client, path, "sk-bad-key")

    check = await checked(client, path)

    assert (check["works"], check["code"]) == (False, "key_refused")


async def test_a_missing_key_names_both_places(client: AsyncClient, path: str) -> None:
    check = await checked(client, path)

    assert (check["works"], check["code"], check["latency_ms"]) == (False, "key_missing", None)
    assert "openai/api_key" in check["message"]
    assert "OPENAI_API_KEY" in check["message"]


async def test_the_projects_key_comes_before_the_environments(
    client_with: ClientFactory, path: str, double: OpenAIDouble
) -> None:
    client = client_with(**BYPASS, KROMA_URL_ALLOW="127.0.0.1", OPENAI_API_KEY=OTHER_KEY)
    await account(client, path, base_url=double.url)
    await checked(client, path)
    await secret(client, path)
    await checked(client, path)

    assert [seen["authorization"] for seen in double.checks] == [f"Bearer {OTHER_KEY}", f"Bearer {KEY}"]


async def test_the_environments_key_goes_to_no_address_that_only_a_project_chose(
    client_with: ClientFactory, path: str
) -> None:
    client = client_with(**BYPASS, KROMA_OPENAI_API_KEY=OTHER_KEY)
    await account(client, path, base_url="http://93.184.216.34/v1")

    check = await checked(client, path)

    assert (check["works"], check["code"]) == (False, "key_missing")
    assert "KROMA_URL_ALLOW" in check["message"]


async def test_a_disabled_account_is_not_asked(client: AsyncClient, path: str, double: OpenAIDouble) -> None:
    await account(client, path, base_url=double.url, enabled=False)
    await secret(client, path)

    check = await checked(client, path)

    assert (check["works"], check["code"]) == (False, "account_disabled")
    assert double.checks == []


async def test_a_private_address_is_refused(client: AsyncClient, path: str) -> None:
    await account(client, path, base_url="http://10.0.0.7/v1")
    await secret(client, path)

    assert (await checked(client, path))["code"] == "address_refused"


async def test_a_dead_address_is_unreachable(client: AsyncClient, path: str) -> None:
    await account(client, path, base_url="http://127.0.0.1:9/v1")
    await secret(client, path)

    assert (await checked(client, path))["code"] == "unreachable"


@pytest.mark.parametrize(("works", "value"), [(True, KEY), (False, "sk-bad-key")])
async def test_a_paused_provider_goes_on_once_the_check_is_well(
    client: AsyncClient, path: str, double: OpenAIDouble, db: Database, *, works: bool, value: str
) -> None:
    await account(client, path, base_url=double.url)
    await secret(client, path, value)
    async with db.transaction() as session:
        project_id = await session.scalar(select(Project.id))
        assert project_id is not None
        await pause_provider(session, project_id, "openai", reason_code="provider_key_refused", reason="401")

    assert (await checked(client, path))["works"] is works

    async with db.transaction() as session:
        paused = await session.scalar(
            select(ProviderGate.paused_code).where(ProviderGate.project_id == project_id)
        )
    assert paused == (None if works else "provider_key_refused")


@pytest.mark.parametrize("slug", ["missing", "___"])
async def test_an_unknown_project_is_not_found(client: AsyncClient, slug: str) -> None:
    response = await client.post(f"/api/projects/{slug}/provider-accounts/openai/check")

    assert (response.status_code, response.json()["error"]) == (404, "Project not found")


@pytest.mark.parametrize("code", ["anthropic", "dall-e"])
async def test_an_unknown_provider_is_not_found(client: AsyncClient, path: str, code: str) -> None:
    response = await client.post(f"{path}/{code}/check")

    assert (response.status_code, response.json()["error"]) == (404, "Provider not found")
