"""Contract 3.5: the prompt for a chat model."""

import json
from typing import Any

import pytest
from httpx import AsyncClient

KEYS = {
    "provider_accounts": {
        "provider_code",
        "display_name",
        "account_ref",
        "base_url",
        "enabled",
        "config_json",
    },
    "style_guides": {"name", "instructions", "notes"},
    "characters": {"name", "description", "prompt_text"},
    "reference_sets": {"name", "description", "items"},
    "secrets": {"provider_code", "secret_name"},
    "prompt_templates": {"name", "template_text"},
}


@pytest.fixture
async def bootstrap(client: AsyncClient, slug: str) -> dict[str, Any]:
    response = await client.get(f"/api/projects/{slug}/bootstrap-prompt")
    assert response.status_code == 200
    return response.json()["bootstrap"]


async def test_an_unknown_project_is_not_found(client: AsyncClient) -> None:
    response = await client.get("/api/projects/missing/bootstrap-prompt")
    assert (response.status_code, response.json()["error"]) == (404, "Project not found")


def test_an_export_has_its_keys(bootstrap: dict[str, Any]) -> None:
    assert bootstrap.keys() == {
        "schema_version",
        "generated_at",
        "project",
        "settings",
        "expected_response",
        "prompt",
    }
    assert bootstrap["schema_version"] == "kroma.bootstrap.v1"
    assert bootstrap["project"].keys() == {"id", "slug", "name", "description"}
    assert bootstrap["settings"] == {section: [] for section in KEYS}


def test_the_expected_response_shows_every_key_once(bootstrap: dict[str, Any]) -> None:
    example = bootstrap["expected_response"]
    assert (example["mode"], example["settings"]["project"].keys()) == ("merge", {"name", "description"})
    assert {name: [row.keys() for row in example["settings"][name]] for name in KEYS} == {
        name: [keys] for name, keys in KEYS.items()
    }
    (item,) = example["settings"]["reference_sets"][0]["items"]
    assert item.keys() == {"label", "content_uri", "content_text", "sort_order", "metadata_json"}


def test_the_prompt_holds_the_form_and_the_rules(bootstrap: dict[str, Any]) -> None:
    prompt = bootstrap["prompt"]
    for part in (
        "Return ONLY valid JSON",
        json.dumps(bootstrap["expected_response"], indent=2),
        "lower case",
    ):
        assert part in prompt


async def test_the_expected_response_can_be_imported(
    client: AsyncClient, slug: str, bootstrap: dict[str, Any]
) -> None:
    url = f"/api/projects/{slug}/bootstrap-import"
    pasted = f"Here is it:\n```json\n{json.dumps(bootstrap['expected_response'])}\n```"
    response = await client.post(url, json={"ai_response_text": pasted})
    assert set(response.json()["bootstrap_import"]["applied"].values()) == {1}


async def test_the_prompt_shows_settings_but_no_secret_chat_or_instruction(
    client: AsyncClient, slug: str
) -> None:
    base = f"/api/projects/{slug}"
    secret = {"provider_code": "openai", "secret_name": "api_key", "secret_value": "sk-hidden"}
    await client.post(f"{base}/secrets", json=secret)
    await client.post(f"{base}/style-guides", json={"name": "Ink", "instructions": "shown-style"})
    await client.post(f"{base}/chat/sessions", json={"title": "hidden-chat"})
    await client.post(f"{base}/agent/instructions", json={"instruction_text": "hidden-instruction"})
    response = await client.get(f"{base}/bootstrap-prompt")
    bootstrap = response.json()["bootstrap"]
    assert bootstrap["settings"]["secrets"] == [
        {"provider_code": "openai", "secret_name": "api_key", "has_value": True}
    ]
    assert "shown-style" in bootstrap["prompt"]
    assert "hidden" not in response.text
