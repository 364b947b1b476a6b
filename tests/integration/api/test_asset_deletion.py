"""``DELETE P/assets/{id}``: only what nothing refers to."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from httpx import AsyncClient
from sqlalchemy import select

from kroma.assets.models import Asset
from kroma.baselines.models import Baseline
from kroma.db.engine import Database
from kroma.quality.models import QualityReport
from kroma.runs.models import Run, RunCandidate, RunJob
from support.builders.factories import png
from support.builders.uploads import files_in, problem, uploaded

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def asset(client: AsyncClient, slug: str) -> dict[str, Any]:
    return (await uploaded(client, slug, ("a.png", png()), kind="input"))[0]


@pytest.fixture
def at(slug: str, asset: dict[str, Any]) -> str:
    return f"/api/projects/{slug}/assets/{asset['id']}"


async def test_row_file_and_thumbnails_go_and_the_trail_says_so(
    client: AsyncClient, slug: str, at: str, asset: dict[str, Any], location: Path
) -> None:
    await client.get(f"{at}/thumbnail?size=64")
    response = await client.delete(at)
    (event,) = (await client.get(f"/api/projects/{slug}/audit-events?event_code=asset.delete")).json()[
        "audit_events"
    ]

    assert response.json() == {"ok": True, "deleted": True, "id": asset["id"], "audit_id": event["id"]}
    assert event["payload_json"] == {name: asset[key] for name, key in _TRAIL.items()}
    assert files_in(location) == []
    assert problem(await client.get(at))[0] == problem(await client.delete(at))[0] == 404


_TRAIL = {"asset_id": "id", "rel_path": "rel_path", "sha256": "sha256"}


async def test_a_deleted_picture_can_be_brought_again(client: AsyncClient, slug: str, at: str) -> None:
    await client.delete(at)
    (again,) = await uploaded(client, slug, ("a.png", png()))

    assert again["duplicate"] is False


async def test_a_file_that_is_gone_already_is_no_reason_to_keep_the_row(
    client: AsyncClient, at: str, asset: dict[str, Any], location: Path
) -> None:
    (location / asset["rel_path"]).unlink()

    assert (await client.delete(at)).status_code == 200


async def test_a_file_that_another_project_names_stays(
    client: AsyncClient, at: str, asset: dict[str, Any], location: Path, db: Database
) -> None:
    other = (await client.post("/api/projects", json={"name": "Other"})).json()["project"]["id"]
    async with db.transaction() as session:
        row = await session.get_one(Asset, UUID(asset["id"]))
        session.add(
            Asset(project_id=UUID(other), kind="input", storage_uri=row.storage_uri, rel_path=row.rel_path)
        )

    assert (await client.delete(at)).status_code == 200
    assert files_in(location) == [asset["rel_path"]]


Refer = Callable[[Any, Asset], Awaitable[None]]


async def _run(session: Any, project_id: UUID, **fields: Any) -> RunJob:
    run = Run(project_id=project_id, run_mode="run", stage="style", **fields)
    session.add(run)
    await session.flush()
    job = RunJob(run_id=run.id, ordinal=0, job_key="style_1_a")
    session.add(job)
    await session.flush()
    return job


async def _candidate(session: Any, row: Asset) -> None:
    job = await _run(session, row.project_id, status="ok")
    session.add(RunCandidate(job_id=job.id, candidate_index=2, output_asset_id=row.id))


async def _result(session: Any, row: Asset) -> None:
    (await _run(session, row.project_id, status="ok")).final_asset_id = row.id


async def _open_run(session: Any, row: Asset) -> None:
    plan = {"jobs": [{"scene": {"key": "b.png"}}], "styles": [{"ref": "x", "key": row.rel_path}]}
    await _run(session, row.project_id, status="queued", plan_json=plan)


async def _baseline(session: Any, row: Asset) -> None:
    session.add(
        Baseline(
            project_id=row.project_id,
            scene_sha256="0" * 64,
            scene_size_bytes=1,
            scene_path="scenes/a.png",
            job_key="style_1_a",
            candidate_index=1,
            path=row.rel_path,
            sha256="1" * 64,
            size_bytes=1,
            mime_type="image/png",
            width=1,
            height=1,
            stage="style",
            time_of_day="day",
            weather="clear",
        )
    )


async def _report(session: Any, row: Asset) -> None:
    session.add(QualityReport(project_id=row.project_id, asset_id=row.id, report_type="human"))


@pytest.mark.parametrize(
    ("refer", "words"),
    [
        pytest.param(_candidate, "candidate 2 of job 'style_1_a' of run ", id="candidate"),
        pytest.param(_result, "the result of job 'style_1_a' of run ", id="result"),
        pytest.param(_open_run, ", which has not ended", id="open run"),
        pytest.param(_baseline, "the baseline that was locked for scene 'scenes/a.png'", id="baseline"),
        pytest.param(_report, "quality report ", id="report"),
    ],
)
async def test_what_refers_to_it_is_named(
    client: AsyncClient, at: str, db: Database, refer: Refer, words: str
) -> None:
    async with db.transaction() as session:
        await refer(session, (await session.scalars(select(Asset))).one())
    status, code, text = problem(await client.delete(at))

    assert (status, code) == (400, "validation_error")
    assert text.startswith("The asset is in use, so it was not deleted: ")
    assert words in text
    assert (await client.get(f"{at}/content")).content == png()


Address = Callable[[dict[str, Any]], str]


@pytest.mark.parametrize(
    "address",
    [
        pytest.param(lambda asset: asset["id"], id="id"),
        pytest.param(lambda asset: asset["rel_path"], id="path"),
        pytest.param(lambda asset: f"./{asset['rel_path']}", id="another spelling"),
        pytest.param(lambda asset: f"{asset['rel_path']}/ ", id="a slash behind it"),
    ],
)
async def test_an_item_of_a_set_holds_it_by_id_and_by_path(
    client: AsyncClient, slug: str, at: str, asset: dict[str, Any], address: Address
) -> None:
    sets = f"/api/projects/{slug}/reference-sets"
    set_id = (await client.post(sets, json={"name": "Quays"})).json()["reference_set"]["id"]
    body = {"label": "Old", "content_uri": address(asset)}
    item = (await client.post(f"{sets}/{set_id}/items", json=body)).json()["item"]
    refused = problem(await client.delete(at))
    await client.delete(f"{sets}/{set_id}/items/{item['id']}")

    assert refused[2].endswith(": item 'Old' of reference set 'Quays'")
    assert (await client.delete(at)).status_code == 200


async def test_a_link_holds_both_of_its_ends(client: AsyncClient, slug: str, asset: dict[str, Any]) -> None:
    (other,) = await uploaded(client, slug, ("b.png", png(9, 9)))
    body = {"parent_asset_id": asset["id"], "child_asset_id": other["id"]}
    link = (await client.post(f"/api/projects/{slug}/asset-links", json=body)).json()["asset_link"]
    refused = [
        problem(await client.delete(f"/api/projects/{slug}/assets/{one['id']}"))[2] for one in (asset, other)
    ]

    assert all(text.endswith(f": asset link {link['id']} (derived_from)") for text in refused)


async def test_a_long_list_of_users_is_cut(
    client: AsyncClient, slug: str, at: str, asset: dict[str, Any]
) -> None:
    sets = f"/api/projects/{slug}/reference-sets"
    set_id = (await client.post(sets, json={"name": "Quays"})).json()["reference_set"]["id"]
    for number in range(7):
        body = {"label": str(number), "content_uri": asset["id"]}
        await client.post(f"{sets}/{set_id}/items", json=body)

    assert problem(await client.delete(at))[2].endswith("; and 2 more")
