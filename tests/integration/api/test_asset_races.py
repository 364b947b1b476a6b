"""Deleting a picture while somebody else begins to use it: one of the two is refused, and nothing dangles.

The two meet in the database, where a third connection holds a lock until both wait.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient, Response
from sqlalchemy import text

from kroma.db.engine import Database
from kroma.storage.base import ObjectStore
from kroma.storage.directory import DirectoryStore, DirectoryStores
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


@asynccontextmanager
async def held(db: Database, lock: str) -> AsyncGenerator[None]:
    """A transaction of another connection that keeps a lock to the end of the block."""
    async with db.engine.begin() as connection:
        await connection.execute(text(lock))
        yield


async def wait_for_lock(db: Database, asked: asyncio.Task[Response], *, waiting: int) -> None:
    """Until that many connections of the database wait for a lock, the last of them for ``asked``."""
    statement = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    count = 0
    while count < waiting:
        assert not asked.done()
        await asyncio.sleep(0.01)
        async with db.engine.connect() as connection:
            count = (await connection.execute(statement)).scalar_one()
    assert not asked.done()


def asset_path(asset: dict[str, Any]) -> str:
    return f"/api/projects/comic/assets/{asset['id']}"


async def refusal(deleting: asyncio.Task[Response]) -> str:
    """Why the deletion was not carried out."""
    status, _, said = problem(await deleting)
    assert status == 400
    return said


async def test_a_scene_that_goes_while_a_run_is_planned_is_said_to_be_gone(
    client: AsyncClient, fresh_db: Database
) -> None:
    (scene,) = await uploaded(client, "comic", ("a.png", scene_png()), kind="input")
    body = {"mode": "dry", "scene_refs": [scene["id"]]}
    # Who waits first has the row first; planning reads it without a lock.
    async with held(fresh_db, f"SELECT FROM assets WHERE id = '{scene['id']}' FOR UPDATE"):
        deleting = asyncio.create_task(client.delete(asset_path(scene)))
        await wait_for_lock(fresh_db, deleting, waiting=1)
        triggering = asyncio.create_task(client.post("/api/projects/comic/runs/trigger", json=body))
        await wait_for_lock(fresh_db, triggering, waiting=2)

    assert (await deleting).status_code == 200
    response = await triggering
    assert problem(response)[0] == 400
    assert problem(response)[2] == f"Asset {scene['id']} has just been deleted; name another picture"
    assert (await client.get("/api/projects/comic/runs")).json()["count"] == 0


async def test_a_scene_is_not_deleted_once_a_run_is_being_confirmed(
    client: AsyncClient, fresh_db: Database
) -> None:
    (scene,) = await uploaded(client, "comic", ("a.png", scene_png()), kind="input")
    body = {"mode": "run", "confirm_spend": True, "scene_refs": [scene["id"]], "candidates": 1}
    async with held(fresh_db, "LOCK TABLE runs IN SHARE MODE"):  # read, but not written
        triggering = asyncio.create_task(client.post("/api/projects/comic/runs/trigger", json=body))
        await wait_for_lock(fresh_db, triggering, waiting=1)
        deleting = asyncio.create_task(client.delete(asset_path(scene)))
        await wait_for_lock(fresh_db, deleting, waiting=2)

    response = await triggering
    assert response.status_code == 202
    assert response.json()["run"]["id"] in await refusal(deleting)


async def test_a_picture_is_not_deleted_while_it_becomes_an_item(
    client: AsyncClient, fresh_db: Database
) -> None:
    (known,) = await uploaded(client, "comic", ("a.png", png()))
    made = await client.post("/api/projects/comic/reference-sets", json={"name": "Mara"})
    set_id = made.json()["reference_set"]["id"]
    async with held(fresh_db, "LOCK TABLE reference_set_items IN SHARE MODE"):
        uploading = asyncio.create_task(
            upload(client, "comic", ("again.png", png()), reference_set_id=set_id)
        )
        await wait_for_lock(fresh_db, uploading, waiting=1)
        deleting = asyncio.create_task(client.delete(asset_path(known)))
        await wait_for_lock(fresh_db, deleting, waiting=2)

    response = await uploading
    assert response.json()["assets"][0]["id"] == known["id"]
    assert (await refusal(deleting)).endswith(": item 'again' of reference set 'Mara'")


class SlowStores(DirectoryStores):
    """Do something before they tell the size of an object, which an upload asks after its commit."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir, allow_any_root=False)
        self.data_dir = data_dir
        self.before_size: Callable[[], Awaitable[None]] | None = None

    def open(self, location: str, *, real_root: str | None = None) -> ObjectStore:
        opened = SlowStore(self.data_dir / location, real_root=real_root)
        opened.stores = self
        return opened


class SlowStore(DirectoryStore):
    stores: SlowStores

    async def size(self, key: str) -> int | None:
        if (before := self.stores.before_size) is not None:
            self.stores.before_size = None
            await before()
        return await super().size(key)


async def test_a_picture_that_is_deleted_right_after_its_upload_leaves_no_file(
    client_with: ClientFactory, fresh_db: Database, data_dir: Path, location: Path
) -> None:
    stores = SlowStores(data_dir)
    client = client_with(fresh_db, stores=stores, KROMA_API_AUTH_DEV_BYPASS="1")
    await client.post("/api/projects", json={"name": "Comic"})
    deleted: list[str] = []

    async def delete() -> None:
        (asset,) = (await client.get("/api/projects/comic/assets")).json()["assets"]
        assert (await client.delete(asset_path(asset))).status_code == 200
        assert files_in(location) == []
        deleted.append(asset["id"])

    stores.before_size = delete
    response = await upload(client, "comic", ("a.png", png()))
    assert response.status_code == 200
    assert deleted == [response.json()["assets"][0]["id"]]
    assert files_in(location) == []
