"""Copies of a project in its bucket, over HTTP."""

from http import HTTPStatus
from pathlib import Path

import pytest
from httpx import AsyncClient
from sqlalchemy import text

from kroma.db.engine import Database
from kroma.queue.messages import SyncProject
from support.doubles.memory_queue import MemoryTaskQueue

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def at(client: AsyncClient, slug: str, root: Path) -> str:
    """The address of the storage of a project with a folder and a bucket."""
    address = f"/api/projects/{slug}/storage"
    await client.put(f"{address}/s3", json={"enabled": True, "bucket": "studio"})
    await client.put(f"{address}/local", json={"project_root": str(root)})
    return address


async def test_a_sync_is_queued_rung_for_and_can_be_watched(
    client: AsyncClient, queue: MemoryTaskQueue, at: str
) -> None:
    response = await client.post(f"{at}/sync", json={"delete": True})

    assert response.status_code == HTTPStatus.ACCEPTED
    sync = response.json()["sync"]
    assert (sync["status"], sync["done"], sync["kind"], sync["delete"]) == ("queued", False, "sync", True)
    assert sync["destination"] == f"s3://studio/iat-projects/{sync['project_id']}/"
    assert response.headers["location"] == response.json()["links"]["self"] == f"{at}/syncs/{sync['id']}"
    assert [str(message.sync_id) for message in queue.messages if isinstance(message, SyncProject)] == [
        sync["id"]
    ]
    assert (await client.get(f"{at}/syncs/{sync['id']}")).json()["sync"] == sync
    listed = (await client.get(f"{at}/syncs", params={"status": "queued", "kind": "sync"})).json()
    assert (listed["count"], listed["syncs"], listed["next"]) == (1, [sync], None)
    assert (await client.get(f"{at}/syncs", params={"status": "done"})).json()["count"] == 0


async def test_one_that_waits_is_answered_again(client: AsyncClient, at: str) -> None:
    first, second, other = [
        (await client.post(f"{at}/sync", json=body)).json()["sync"]["id"]
        for body in ({}, {}, {"dry_run": True})
    ]
    assert first == second != other


async def test_it_can_be_called_off_and_asked_for_again(client: AsyncClient, at: str) -> None:
    sync = (await client.post(f"{at}/sync")).json()["sync"]

    canceled = await client.post(f"{at}/syncs/{sync['id']}/cancel")
    assert (canceled.status_code, canceled.json()["sync"]["status"]) == (HTTPStatus.OK, "canceled")
    assert (await client.post(f"{at}/syncs/{sync['id']}/cancel")).json()["sync"]["status"] == "canceled"
    again = await client.post(f"{at}/syncs/{sync['id']}/retry")

    assert again.status_code == HTTPStatus.ACCEPTED
    assert again.json()["sync"]["id"] != sync["id"]
    refused = await client.post(f"{at}/syncs/{again.json()['sync']['id']}/retry")
    assert (refused.status_code, refused.json()["error_code"]) == (HTTPStatus.BAD_REQUEST, "sync_not_again")


async def test_a_project_without_a_folder_is_refused_or_skipped(
    client: AsyncClient, slug: str, data_dir: Path
) -> None:
    at = f"/api/projects/{slug}/storage"
    await client.put(f"{at}/s3", json={"enabled": True, "bucket": "studio"})

    refused = await client.post(f"{at}/sync")
    assert (refused.status_code, refused.json()["error_code"]) == (
        HTTPStatus.BAD_REQUEST,
        "project_root_missing",
    )
    assert str(data_dir) in refused.json()["error"]
    skipped = await client.post(f"{at}/sync", json={"allow_missing": True})

    assert skipped.status_code == HTTPStatus.OK
    assert (skipped.json()["sync"]["status"], skipped.json()["sync"]["result"]) == (
        "done",
        {"skipped": True, "reason": "missing_local_project_root"},
    )


@pytest.mark.parametrize(
    ("storage", "error_code"),
    [
        pytest.param({"enabled": False}, "s3_sync_disabled", id="switched off"),
        pytest.param({"bucket": ""}, "s3_bucket_missing", id="no bucket"),
        pytest.param({"prefix": "../x"}, "s3_prefix_invalid", id="a prefix that leads up"),
    ],
)
async def test_what_cannot_be_synced_is_said_at_once(
    client: AsyncClient, db: Database, at: str, storage: dict[str, object], error_code: str
) -> None:
    await client.put(f"{at}/s3", json=storage)

    refused = await client.post(f"{at}/sync", json={})

    assert (refused.status_code, refused.json()["error_code"]) == (HTTPStatus.BAD_REQUEST, error_code)
    async with db.transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM sync_jobs")) == 0


async def test_what_is_unknown_is_not_found(client: AsyncClient, at: str) -> None:
    unknown = "3f2b8c1e-6d0a-4c55-9b3e-0e8f1f6f2a71"
    assert (await client.post("/api/projects/nobodys/storage/sync")).status_code == HTTPStatus.NOT_FOUND
    for path in ("", "/cancel", "/retry"):
        method = "POST" if path else "GET"
        response = await client.request(method, f"{at}/syncs/{unknown}{path}")
        assert (response.status_code, response.json()["error"]) == (HTTPStatus.NOT_FOUND, "Sync not found")
