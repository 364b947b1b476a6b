"""How a picture came to be, over HTTP."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from httpx import AsyncClient

from kroma.assets.models import Asset, AssetLink
from kroma.db.engine import Database
from kroma.ingest.service import ingest_log
from kroma.ledger.models import CallStatus, ProviderCall
from kroma.lineage import family
from kroma.projects.queries import get_project
from kroma.runs.models import Run, RunJob

pytestmark = pytest.mark.timeout(60)

LOGS = Path(__file__).parents[2] / "contract" / "runlogs"
WINNER = "outputs/0b6f8f57-9d0a-4f0c-9a7e-2f5f6f0f9a01/style_1_quarry__c2.png"
REJECTED = "archive/bad/0b6f8f57-9d0a-4f0c-9a7e-2f5f6f0f9a01/style_1_quarry__c1_bad.png"


async def ingested(db: Database, slug: str, log: str) -> UUID:
    """The project, with a run as this log has it."""
    async with db.transaction() as session:
        project_id = (await get_project(session, slug)).id
    data = (LOGS / log).read_bytes()
    await ingest_log(db, project_id=project_id, log_path="runs/run_1.json", data=data)
    return project_id


async def asset_at(client: AsyncClient, slug: str, path: str) -> dict[str, Any]:
    assets = (await client.get(f"/api/projects/{slug}/assets?limit=500")).json()["assets"]
    return next(asset for asset in assets if asset["rel_path"] == path)


async def lineage_of(client: AsyncClient, slug: str, asset_id: str) -> dict[str, Any]:
    response = await client.get(f"/api/projects/{slug}/assets/{asset_id}/lineage")
    assert response.status_code == 200, response.text
    return response.json()


async def linked_chain(db: Database, slug: str, names: Sequence[str], *, closed: bool = False) -> list[str]:
    """Assets, each derived from the one before; a closed chain is a circle."""
    async with db.transaction() as session:
        project = await get_project(session, slug)
        assets = [
            Asset(project_id=project.id, kind="input", storage_uri=name, rel_path=name) for name in names
        ]
        session.add_all(assets)
        await session.flush()
        pairs = list(pairwise(assets))
        if closed:
            pairs.append((assets[-1], assets[0]))
        session.add_all(
            AssetLink(project_id=project.id, parent_asset_id=parent.id, child_asset_id=child.id)
            for parent, child in pairs
        )
        return [str(asset.id) for asset in assets]


async def test_a_generated_picture_tells_its_run_job_prompt_maker_and_references(
    client: AsyncClient, slug: str, db: Database
) -> None:
    await ingested(db, slug, "v2_run.json")
    asset = await asset_at(client, slug, WINNER)
    lineage = await lineage_of(client, slug, asset["id"])

    assert lineage["asset"] == asset
    assert lineage["run"]["id"] == "0b6f8f57-9d0a-4f0c-9a7e-2f5f6f0f9a01"
    assert (lineage["run"]["stage"], lineage["run"]["run_log_path"]) == ("style", "runs/run_1.json")
    assert lineage["job"]["job_key"] == "style_1_quarry"
    assert (lineage["candidate"]["candidate_index"], lineage["candidate"]["status"]) == (2, "done")
    assert lineage["candidate"]["reason"] == "passed every check"
    assert lineage["prompt"] == "Redraw quarry in ink."
    assert lineage["made_by"] == {
        "provider": "local",
        "model": "redraw-1",
        "seed": 200,
        "size": "",
        "quality": "",
        "parameters": {"strength": 0.5},
        "provider_request_id": "",
    }
    assert [(given["role"], given["ref"]) for given in lineage["references"]] == [
        ("scene", "in/quarry.png"),
        ("style", "refs/ink_a.png"),
        ("style", "refs/ink_b.png"),
    ]
    assert lineage["references"][0]["sha256"].startswith("0afad26c")
    parents = {(one["asset"]["rel_path"], one["link_type"], one["distance"]) for one in lineage["parents"]}
    assert parents == {
        ("in/quarry.png", "derived_from", 1),
        ("refs/ink_a.png", "reference_of", 1),
        ("refs/ink_b.png", "reference_of", 1),
    }


async def test_a_prompt_tells_the_template_it_was_expanded_from(
    client: AsyncClient, slug: str, db: Database
) -> None:
    await ingested(db, slug, "v2_run.json")
    asset = await asset_at(client, slug, WINNER)
    template = {
        "id": str(UUID(int=7)),
        "name": "Page",
        "text": "{scene} in ink",
        "updated_at": "2027-01-31T12:00:00.000Z",
    }
    async with db.transaction() as session:
        run = await session.get_one(Run, UUID(asset["run_id"]))
        run.settings_snapshot_json = {"words": {"template": template}}
    lineage = await lineage_of(client, slug, asset["id"])

    assert lineage["prompt_made_of"] == {"template": template, "style_guide": None, "characters": []}
    assert lineage["prompt"] == "Redraw quarry in ink."


async def test_scores_are_the_reports_on_the_picture_alone(
    client: AsyncClient, slug: str, db: Database
) -> None:
    await ingested(db, slug, "v2_run.json")
    rejected = await asset_at(client, slug, REJECTED)
    scores = (await lineage_of(client, slug, rejected["id"]))["scores"]

    assert scores
    assert {score["candidate_id"] for score in scores} == {rejected["candidate_id"]}
    assert scores[0]["hard_failures"] == 1


async def test_a_known_cost_is_summed_and_an_unknown_one_is_null(
    client: AsyncClient, slug: str, db: Database
) -> None:
    await ingested(db, slug, "v2_run.json")
    free = await lineage_of(client, slug, (await asset_at(client, slug, REJECTED))["id"])
    unknown = await lineage_of(client, slug, (await asset_at(client, slug, WINNER))["id"])

    assert free["cost"]["total_usd"] == 0.0
    assert [event["meta_json"]["candidate_index"] for event in free["cost"]["cost_events"]] == [1]
    assert unknown["cost"]["total_usd"] is None
    assert [event["meta_json"]["candidate_index"] for event in unknown["cost"]["cost_events"]] == [2]


async def test_paid_calls_of_the_candidate_are_shown(client: AsyncClient, slug: str, db: Database) -> None:
    project_id = await ingested(db, slug, "v2_run.json")
    asset = await asset_at(client, slug, WINNER)
    async with db.transaction() as session:
        job = await session.get_one(RunJob, UUID(asset["job_id"]))
        session.add_all(
            ProviderCall(
                project_id=project_id,
                run_id=job.run_id,
                job_id=job.id,
                job_key=job.job_key,
                candidate_index=index,
                number=1,
                fence=1,
                provider_code="openai",
                model_name="gpt-image-1",
                operation="image_edit",
                status=CallStatus.SETTLED,
                request_id=f"req_{index}",
            )
            for index in (1, 2)
        )
    lineage = await lineage_of(client, slug, asset["id"])

    assert [call["request_id"] for call in lineage["cost"]["provider_calls"]] == ["req_2"]


async def test_a_reference_tells_what_was_made_after_it(client: AsyncClient, slug: str, db: Database) -> None:
    await ingested(db, slug, "v2_run.json")
    style = await asset_at(client, slug, "refs/ink_a.png")
    lineage = await lineage_of(client, slug, style["id"])

    assert lineage["parents"] == []
    assert WINNER in {child["asset"]["rel_path"] for child in lineage["children"]}
    assert {child["link_type"] for child in lineage["children"]} == {"reference_of"}
    assert (lineage["run"], lineage["candidate"], lineage["made_by"], lineage["cost"]) == (None,) * 4
    assert (lineage["references"], lineage["scores"], lineage["prompt"]) == ([], [], "")


async def test_a_derived_picture_of_the_original_leads_back_to_its_scene(
    client: AsyncClient, slug: str, db: Database
) -> None:
    await ingested(db, slug, "g2_run_ok.json")
    assets = (await client.get(f"/api/projects/{slug}/assets?kind=job_final_output")).json()["assets"]
    of_all = [await lineage_of(client, slug, asset["id"]) for asset in assets]
    lineage = next(one for one in of_all if any(parent["distance"] == 2 for parent in one["parents"]))

    distances = {one["asset"]["kind"]: one["distance"] for one in lineage["parents"]}
    assert distances["candidate_output"] == 1
    assert distances["input"] == 2
    assert lineage["candidate"] is not None
    assert lineage["made_by"]["seed"] is None
    assert lineage["references"] == []


async def test_a_picture_that_no_run_made_has_empty_parts(
    client: AsyncClient, slug: str, db: Database
) -> None:
    (asset_id,) = await linked_chain(db, slug, ["upload.png"])
    lineage = await lineage_of(client, slug, asset_id)

    empty = {name: value for name, value in lineage.items() if name not in {"ok", "asset"}}
    assert empty == {
        "parents": [],
        "parents_cut": False,
        "children": [],
        "children_cut": False,
        "run": None,
        "job": None,
        "candidate": None,
        "prompt": "",
        "prompt_made_of": None,
        "made_by": None,
        "references": [],
        "cost": None,
        "scores": [],
    }


async def test_relatives_are_found_over_several_links(client: AsyncClient, slug: str, db: Database) -> None:
    first, second, third, fourth = await linked_chain(db, slug, ["a.png", "b.png", "c.png", "d.png"])
    lineage = await lineage_of(client, slug, third)

    assert [(one["asset"]["id"], one["distance"]) for one in lineage["parents"]] == [(second, 1), (first, 2)]
    assert [one["next_asset_id"] for one in lineage["parents"]] == [third, second]
    assert [(one["asset"]["id"], one["distance"]) for one in lineage["children"]] == [(fourth, 1)]


async def test_a_circle_of_links_comes_to_its_end(client: AsyncClient, slug: str, db: Database) -> None:
    first, second, third = await linked_chain(db, slug, ["a.png", "b.png", "c.png"], closed=True)
    lineage = await lineage_of(client, slug, first)

    assert [one["asset"]["id"] for one in lineage["parents"]] == [third, second]
    assert [one["asset"]["id"] for one in lineage["children"]] == [second, third]
    assert (lineage["parents_cut"], lineage["children_cut"]) == (False, False)


async def test_a_long_line_is_cut_and_says_so(client: AsyncClient, slug: str, db: Database) -> None:
    ids = await linked_chain(db, slug, [f"{n}.png" for n in range(family.FARTHEST + 3)])
    lineage = await lineage_of(client, slug, ids[0])

    assert [one["distance"] for one in lineage["children"]] == [*range(1, family.FARTHEST + 1)]
    assert lineage["children_cut"] is True
    assert (await lineage_of(client, slug, ids[2]))["children_cut"] is False


async def test_many_children_are_cut_and_said_to_be(client: AsyncClient, slug: str, db: Database) -> None:
    (parent,) = await linked_chain(db, slug, ["style.png"])
    async with db.transaction() as session:
        project = await get_project(session, slug)
        children = [
            Asset(project_id=project.id, kind="input", storage_uri=f"{n}", rel_path=f"{n}.png")
            for n in range(family.MOST_RELATIVES + 1)
        ]
        session.add_all(children)
        await session.flush()
        session.add_all(
            AssetLink(project_id=project.id, parent_asset_id=UUID(parent), child_asset_id=child.id)
            for child in children
        )
    lineage = await lineage_of(client, slug, parent)

    assert (len(lineage["children"]), lineage["children_cut"]) == (family.MOST_RELATIVES, True)


async def test_a_log_that_says_nothing_of_its_candidates_leaves_the_making_empty(
    client: AsyncClient, slug: str, db: Database
) -> None:
    log = json.loads((LOGS / "g2_run_ok.json").read_text())
    assert "inputs" not in log["jobs"][0]
    await ingested(db, slug, "g2_run_ok.json")
    assets = (await client.get(f"/api/projects/{slug}/assets?kind=candidate_output")).json()["assets"]
    lineage = await lineage_of(client, slug, assets[0]["id"])

    assert lineage["made_by"]["parameters"] == {}
    assert lineage["candidate"]["reason"] == ""


@pytest.mark.parametrize("asset_id", ["x", "0f2d5c9e-4a7b-4c1d-8e3f-5a6b7c8d9e0f"])
async def test_an_unknown_asset_has_no_lineage(client: AsyncClient, slug: str, asset_id: str) -> None:
    response = await client.get(f"/api/projects/{slug}/assets/{asset_id}/lineage")

    assert (response.status_code, response.json()["error"]) == (404, "Asset not found")


async def test_an_asset_of_another_project_has_no_lineage_here(
    client: AsyncClient, slug: str, db: Database
) -> None:
    (asset_id,) = await linked_chain(db, slug, ["a.png"])
    await client.post("/api/projects", json={"name": "Other"})

    response = await client.get(f"/api/projects/other/assets/{asset_id}/lineage")

    assert (response.status_code, response.json()["error_code"]) == (404, "not_found")
