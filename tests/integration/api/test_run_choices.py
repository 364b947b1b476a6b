"""What a trigger may choose: provider, model, size, quality, seed."""

from typing import Any

import pytest
from httpx import AsyncClient

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("root")]

SCENE = "scenes/a.png"


@pytest.fixture
def path(slug: str) -> str:
    return f"/api/projects/{slug}/runs"


async def test_a_run_shows_what_was_chosen(client: AsyncClient, path: str) -> None:
    body = {"scene_refs": [SCENE], "provider": "local", "model": "kroma-ink-1", "size": "320x240", "seed": 5}
    response = await client.post(f"{path}/trigger", json=body)
    assert response.status_code == 202, response.text

    run = (await client.get(f"{path}/{response.json()['run']['id']}")).json()["run"]

    assert (run["provider_code"], run["model_name"], run["image_size"]) == ("local", "kroma-ink-1", "320x240")
    assert run["settings_snapshot_json"]["seed"] == 5


async def test_the_paid_provider_has_defaults(client: AsyncClient, path: str) -> None:
    response = await client.post(f"{path}/trigger", json={"scene_refs": [SCENE], "provider": " OpenAI "})

    run = response.json()["run"]
    shown = (run["provider_code"], run["model_name"], run["image_size"], run["image_quality"])
    assert shown == ("openai", "gpt-image-1", "1024x1536", "high")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param(
            {"provider": "dalle"}, "Field 'provider' must be one of: local, openai, fake", id="provider"
        ),
        pytest.param({"provider": " "}, "Field 'provider' must not be empty", id="blank provider"),
        pytest.param({"provider": "openai", "model": "x"}, "Field 'model' must be one of: gpt-", id="model"),
        pytest.param({"provider": "openai", "size": "1x1"}, "Field 'size' must be one of: 1024", id="size"),
        pytest.param({"size": "big"}, "Size 'big' must be <width>x<height>", id="a size that is none"),
        pytest.param(
            {"provider": "openai", "quality": "best"},
            "Field 'quality' must be one of: low, medium, high",
            id="quality",
        ),
        pytest.param(
            {"quality": "high"}, "not supported by provider 'local'", id="quality for a free provider"
        ),
        pytest.param({"seed": -1}, "Field 'seed' must be between 0 and", id="a seed below"),
        pytest.param({"seed": 2**63}, "Field 'seed' must be between 0 and", id="a seed above"),
    ],
)
async def test_what_is_not_offered_is_refused(
    client: AsyncClient, path: str, fields: dict[str, Any], said: str
) -> None:
    response = await client.post(f"{path}/trigger", json={"scene_refs": [SCENE], **fields})

    assert response.status_code == 400, response.text
    assert said in response.json()["error"]
    assert response.json()["error_kind"] == "validation"


@pytest.mark.parametrize("fields", [{"seed": "5"}, {"seed": 1.5}, {"seed": True}, {"model": 1}, {"size": []}])
async def test_a_wrong_type_is_unprocessable(client: AsyncClient, path: str, fields: dict[str, Any]) -> None:
    response = await client.post(f"{path}/trigger", json={"scene_refs": [SCENE], **fields})

    assert response.status_code == 422, response.text


async def test_the_confirmation_of_spend_is_asked_for_before_a_choice_is_judged(
    client: AsyncClient, path: str
) -> None:
    body = {"mode": "run", "scene_refs": [SCENE], "provider": " ", "seed": -1}
    response = await client.post(f"{path}/trigger", json=body)

    assert response.json()["error_code"] == "spend_confirmation_required"
