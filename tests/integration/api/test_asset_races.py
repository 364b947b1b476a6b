"""Deleting a picture while somebody else begins to use it: one of the two is refused, and nothing dangles."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient, Response

from kroma.db.engine import Database
from kroma.library import upload as uploads
from kroma.pipeline.control import trigger
from support.builders.factories import png, scene_png
from support.builders.uploads import files_in, problem, upload, uploaded
from support.harness.documented_api import ClientFactory

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def client(client_with: ClientFactory, fresh_db: Database) -> AsyncClient:
    """On a database of its own, whose transactions meet each other."""
    client = client_with(fresh_db, KROMA_API_AUTH_DEV_BYPASS="1")
    await client.post("/api/projects", json={"name": "Comic"})
    return client


@pytest.fixture
def location(data_dir: Path) -> Path:
    return data_dir / "var" / "projects" / "comic"


class Deletion:
    """Asked for in the midst of something else, it has to wait for that."""

    def __init__(self, client: AsyncClient, asset: dict[str, Any]) -> None:
        self._client = client
        self._at = f"/api/projects/comic/assets/{asset['id']}"
        self._asked: list[asyncio.Task[Response]] = []

    def before(self, real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """What asks for it and then does the real thing."""

        async def slow(*args: Any, **options: Any) -> Any:
            self._asked.append(asyncio.create_task(self._client.delete(self._at)))
            await asyncio.wait(self._asked, timeout=0.3)
            assert not self._asked[0].done()
            return await real(*args, **options)

        return slow

    async def refusal(self) -> str:
        """Why it was not carried out."""
        status, _, text = problem(await self._asked[0])
        assert status == 400
        return text


async def test_a_scene_that_goes_while_a_run_is_planned_is_said_to_be_gone(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scene,) = await uploaded(client, "comic", ("a.png", scene_png()), kind="input")
    real = trigger.plan_run

    async def slow(*args: Any, **options: Any) -> Any:
        plan = await real(*args, **options)
        assert (await client.delete(f"/api/projects/comic/assets/{scene['id']}")).status_code == 200
        return plan

    monkeypatch.setattr(trigger, "plan_run", slow)
    body = {"mode": "dry", "scene_refs": [scene["id"]]}
    response = await client.post("/api/projects/comic/runs/trigger", json=body)

    assert problem(response)[0] == 400
    assert problem(response)[2] == f"Asset {scene['id']} has just been deleted; name another picture"
    assert (await client.get("/api/projects/comic/runs")).json()["count"] == 0


async def test_a_scene_is_not_deleted_once_a_run_is_being_confirmed(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scene,) = await uploaded(client, "comic", ("a.png", scene_png()), kind="input")
    deletion = Deletion(client, scene)
    monkeypatch.setattr(trigger, "confirm_run_in", deletion.before(trigger.confirm_run_in))
    body = {"mode": "run", "confirm_spend": True, "scene_refs": [scene["id"]], "candidates": 1}
    response = await client.post("/api/projects/comic/runs/trigger", json=body)

    assert response.status_code == 202
    assert response.json()["run"]["id"] in await deletion.refusal()


async def test_a_picture_is_not_deleted_while_it_becomes_an_item(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    (known,) = await uploaded(client, "comic", ("a.png", png()))
    made = await client.post("/api/projects/comic/reference-sets", json={"name": "Mara"})
    set_id = made.json()["reference_set"]["id"]
    deletion = Deletion(client, known)
    monkeypatch.setattr(uploads, "add_items", deletion.before(uploads.add_items))
    response = await upload(client, "comic", ("again.png", png()), reference_set_id=set_id)

    assert response.json()["assets"][0]["id"] == known["id"]
    assert (await deletion.refusal()).endswith(": item 'again' of reference set 'Mara'")


async def test_a_picture_that_is_deleted_right_after_its_upload_leaves_no_file(
    client: AsyncClient, location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = uploads._restore_missing  # noqa: SLF001 - what follows the commit

    async def late(*args: Any, **options: Any) -> None:
        (asset,) = (await client.get("/api/projects/comic/assets")).json()["assets"]
        assert (await client.delete(f"/api/projects/comic/assets/{asset['id']}")).status_code == 200
        await real(*args, **options)

    monkeypatch.setattr(uploads, "_restore_missing", late)
    assert (await upload(client, "comic", ("a.png", png()))).status_code == 200
    assert files_in(location) == []
