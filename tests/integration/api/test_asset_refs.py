"""Assets named by their ids: as scenes, styles and pictures of reference items."""

from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient

from support.builders.factories import scene_png
from support.builders.uploads import problem, uploaded

pytestmark = pytest.mark.timeout(60)

UNKNOWN = "0f2d5c9e-4a7b-4c1d-8e3f-5a6b7c8d9e0f"


async def trigger(client: AsyncClient, slug: str, **fields: Any) -> Any:
    return await client.post(f"/api/projects/{slug}/runs/trigger", json={"mode": "dry", **fields})


@pytest.fixture
async def scene(client: AsyncClient, slug: str) -> dict[str, Any]:
    """An uploaded scene."""
    return (await uploaded(client, slug, ("Harbor.png", scene_png(48, 32)), kind="input"))[0]


@pytest.fixture
async def style(client: AsyncClient, slug: str) -> dict[str, Any]:
    """An uploaded style reference."""
    return (await uploaded(client, slug, ("ink.png", scene_png(48, 32, seed=3))))[0]


async def test_ids_and_paths_plan_the_same_pictures(
    client: AsyncClient, slug: str, scene: dict[str, Any], style: dict[str, Any]
) -> None:
    quoted = f"/api/projects/{slug}/runs/quote"
    ids = {"scene_refs": [scene["id"]], "style_refs": [style["id"]]}
    paths = {"scene_refs": [scene["rel_path"]], "style_refs": [style["rel_path"]]}
    by_id = (await client.post(quoted, json=ids)).json()["quote"]["plan"]
    by_path = (await client.post(quoted, json=paths)).json()["quote"]["plan"]
    job_key = f"style_1_{Path(scene['rel_path']).stem}"

    assert (
        [job["job_key"] for job in by_id["jobs"]] == [job["job_key"] for job in by_path["jobs"]] == [job_key]
    )
    assert by_id["jobs"][0]["scene"] == scene["id"]
    assert (by_id["style_refs"], by_path["style_refs"]) == ([style["id"]], [style["rel_path"]])


async def test_a_run_is_triggered_with_ids(
    client: AsyncClient, slug: str, scene: dict[str, Any], style: dict[str, Any]
) -> None:
    response = await trigger(client, slug, scene_refs=[scene["id"]], style_refs=[style["id"]])

    assert response.status_code == 202, response.text
    jobs = (await client.get(f"{response.headers['Location']}/jobs")).json()["jobs"]
    assert [job["job_key"] for job in jobs] == [f"style_1_{Path(scene['rel_path']).stem}"]


@pytest.mark.parametrize("field", ["scene_refs", "style_refs"])
async def test_an_unknown_id_is_named(
    client: AsyncClient, slug: str, scene: dict[str, Any], field: str
) -> None:
    refs = {"scene_refs": [scene["id"]], field: [UNKNOWN]}

    assert problem(await trigger(client, slug, **refs)) == (
        400,
        "planning_preflight_failed",
        f"Field '{field}': the project has no asset with the id '{UNKNOWN}'",
    )


async def test_another_projects_asset_is_unknown_here(client: AsyncClient, slug: str) -> None:
    await client.post("/api/projects", json={"name": "Other"})
    (foreign,) = await uploaded(client, "other", ("a.png", scene_png(48, 32)))
    _, code, text = problem(await trigger(client, slug, scene_refs=[foreign["id"]]))

    assert code == "planning_preflight_failed"
    assert foreign["id"] in text


async def test_a_picture_that_is_gone_is_named_by_its_id(
    client: AsyncClient, slug: str, scene: dict[str, Any], data_dir: Path
) -> None:
    (data_dir / "var" / "projects" / "comic" / scene["rel_path"]).unlink()

    assert (
        f"Scene '{scene['id']}' was not found"
        in problem(await trigger(client, slug, scene_refs=[scene["id"]]))[2]
    )


async def test_an_item_of_a_set_may_name_an_asset(
    client: AsyncClient, slug: str, scene: dict[str, Any], style: dict[str, Any]
) -> None:
    at = f"/api/projects/{slug}/reference-sets"
    set_id = (await client.post(at, json={"name": "Mara"})).json()["reference_set"]["id"]
    await client.post(f"{at}/{set_id}/items", json={"label": "Front", "content_uri": style["id"]})
    order = {"scene_refs": [scene["id"]], "reference_set_ids": [set_id]}
    plan = (await client.post(f"/api/projects/{slug}/runs/quote", json=order)).json()["quote"]["plan"]
    await client.post(f"{at}/{set_id}/items", json={"label": "Back", "content_uri": UNKNOWN})

    assert plan["reference_refs"] == [style["id"]]
    assert problem(await trigger(client, slug, **order))[2] == (
        f"Item 'Back' of reference set 'Mara': the project has no asset with the id '{UNKNOWN}'"
    )
