"""What callers meet where projects are kept in a bucket (docs/storage.md)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from httpx import AsyncClient

from kroma.config import S3Access
from kroma.storage.access import RetryPolicy
from kroma.storage.base import ObjectStore
from kroma.storage.client import s3_client
from kroma.storage.errors import ChecksumMismatchError
from kroma.storage.s3 import S3Stores
from kroma_api.http.file_response import FileAnswer
from support.builders.factories import scene_png
from support.builders.uploads import uploaded
from support.harness.documented_api import ClientFactory

pytestmark = pytest.mark.timeout(60)

BYPASS = {"KROMA_API_AUTH_DEV_BYPASS": "1"}


@pytest.fixture
async def stores(s3_bucket: str, s3_access: S3Access) -> AsyncIterator[S3Stores]:
    opened = S3Stores(s3_bucket, "iat-projects", s3_access)
    yield opened
    await opened.close()


@pytest.fixture
def client(client_with: ClientFactory, stores: S3Stores) -> AsyncClient:
    return client_with(stores=stores, **BYPASS)


@pytest.fixture
async def made(client: AsyncClient) -> dict[str, Any]:
    return (await client.post("/api/projects", json={"name": "Comic"})).json()


@pytest.fixture
async def store(made: dict[str, Any], stores: S3Stores) -> ObjectStore:
    """The project's, with a scene."""
    location = stores.locate(project_id=UUID(made["project"]["id"]), slug="comic", storage=None)
    opened = stores.open(location)
    await opened.put("scenes/a.png", scene_png())
    return opened


async def test_a_damaged_file_breaks_off_short_of_its_length(
    s3_access: S3Access, s3_bucket: str, store: ObjectStore
) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async with s3_client(s3_access, guard=None, connections=1, retry_policy=RetryPolicy()) as other:
        key = store.uri("scenes/a.png").removeprefix(f"s3://{s3_bucket}/")
        damaged = {"sha256": "0" * 64}
        await other.put_object(Bucket=s3_bucket, Key=key, Body=b"x" * 1_000_000, Metadata=damaged)

    with pytest.raises(ChecksumMismatchError):
        await FileAnswer(store, "scenes/a.png", headers={}).to_asgi_response()({}, None, send)

    assert (b"content-length", b"1000000") in sent[0]["headers"]
    assert 0 < sum(len(message["body"]) for message in sent[1:]) < 1_000_000
    assert all(message["more_body"] for message in sent[1:])


async def test_there_is_no_local_storage_to_set(
    client: AsyncClient, made: dict[str, Any], s3_bucket: str
) -> None:
    shown = made["storage"]["local"]

    assert shown["project_root"] == f"s3://{s3_bucket}/iat-projects/{made['project']['id']}"
    for body in ({"base_dir": "shelf"}, {"project_root": "/srv/comic"}):
        refused = await client.put("/api/projects/comic/storage/local", json=body)
        assert (refused.status_code, refused.json()["error_code"]) == (400, "no_local_storage")
    assert (await client.get("/api/projects/comic/storage")).json()["storage"]["local"] == shown


async def test_a_dry_run_is_planned_over_keys(client: AsyncClient, store: ObjectStore) -> None:
    for ref in ("scenes/a.png", f"{store.location}/scenes/a.png"):
        reply = await client.post(
            "/api/projects/comic/runs/trigger", json={"mode": "dry", "scene_refs": [ref]}
        )
        assert reply.status_code == 202, reply.text


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"scene_refs": ["/etc/hostname.png"]}, id="scene"),
        pytest.param({"scene_refs": ["s3://elsewhere/a.png"]}, id="another bucket"),
        pytest.param({"input": "/var"}, id="input"),
        pytest.param({"input": "scenes", "style_refs": ["/etc/hostname.png"]}, id="style"),
    ],
)
@pytest.mark.usefixtures("store")
async def test_no_path_of_a_host_is_taken(client: AsyncClient, given: dict[str, Any]) -> None:
    reply = await client.post("/api/projects/comic/runs/trigger", json={"mode": "dry", **given})

    assert (reply.status_code, reply.json()["error_code"]) == (400, "planning_preflight_failed")
    assert "leads outside the project" in reply.json()["error"]


@pytest.mark.usefixtures("store")
async def test_no_settings_are_read_from_a_host(client: AsyncClient, data_dir: Path) -> None:
    here = data_dir / "here.json"
    here.write_text("{}")

    for field in (
        "app_settings_path",
        "project_settings_path",
        "manifest_path",
        "postprocess_config_path",
    ):
        for path in (str(here), "../here.json"):
            reply = await client.post("/api/projects/comic/runs/validate-config", json={field: path})
            assert reply.status_code == 400, field
            assert "leads outside the project" in reply.json()["error"]


async def test_relative_paths_are_keys_of_the_project(
    client: AsyncClient, store: ObjectStore, data_dir: Path
) -> None:
    (data_dir / "manifest.json").write_text("a file of the host")
    names = {"manifest_path": "manifest.json", "postprocess_config_path": "post.json"}
    await store.put("manifest.json", b"{}")
    await store.put("post.json", b"{}")
    await store.put(".kroma/pipeline.settings.json", msgspec.json.encode({"pipeline": names}))

    reply = await client.post("/api/projects/comic/runs/validate-config", json={})

    assert reply.status_code == 200, reply.text
    summary = reply.json()["summary"]
    assert summary["project_settings_loaded"]
    assert summary["resolved_manifest_path"] == "manifest.json"


@pytest.mark.usefixtures("store")
async def test_the_operators_own_settings_lie_in_the_data_directory(
    client: AsyncClient, data_dir: Path
) -> None:
    (data_dir / "config").mkdir()
    (data_dir / "config" / "pipeline.settings.toml").write_text("[postprocess]\nupscale = true\n")

    reply = await client.post("/api/projects/comic/runs/validate-config", json={})

    assert reply.json()["summary"]["app_settings_loaded"]


async def test_a_file_that_nobody_edits_may_be_kept_for_ever(client: AsyncClient, store: ObjectStore) -> None:
    (asset,) = await uploaded(client, "comic", ("a.png", scene_png()))
    at = f"/api/projects/comic/assets/{asset['id']}/content"
    before = await client.get(at)
    await store.put(asset["rel_path"], scene_png(seed=9))
    after = await client.get(at)

    assert before.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert after.headers["cache-control"] == "private, no-cache"
    assert after.content == scene_png(seed=9)
