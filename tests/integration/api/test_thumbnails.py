"""``GET P/assets/{id}/thumbnail``."""

import asyncio
import hashlib
import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient, Response
from PIL import Image

from kroma.assets.models import Asset
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.projects.queries import get_project
from support.builders import corpus
from support.builders.factories import noise_png, scene_png
from support.builders.uploads import files_in, problem, uploaded
from support.harness.documented_api import ClientFactory

pytestmark = pytest.mark.timeout(60)


def opened(response: Response) -> Image.Image:
    assert (response.status_code, response.headers["content-type"]) == (200, "image/webp")
    return Image.open(io.BytesIO(response.content))


@pytest.fixture
async def asset(client: AsyncClient, slug: str) -> dict[str, Any]:
    """An uploaded picture of 300 x 200."""
    return (await uploaded(client, slug, ("a.png", scene_png(300, 200))))[0]


@pytest.fixture
def at(slug: str, asset: dict[str, Any]) -> str:
    return f"/api/projects/{slug}/assets/{asset['id']}/thumbnail"


AddPicture = Callable[[bytes, str], Awaitable[str]]


@pytest.fixture
def add_picture(db: Database, slug: str, location: Path) -> AddPicture:
    """Adds an asset that nobody looked at; gives the address of its thumbnail."""

    async def add(data: bytes, mime_type: str) -> str:
        (location / "a.png").write_bytes(data)
        async with db.transaction() as session:
            project = await get_project(session, slug)
            row = Asset(
                project_id=project.id, kind="input", storage_uri="", rel_path="a.png", mime_type=mime_type
            )
            session.add(row)
        return f"/api/projects/{slug}/assets/{row.id}/thumbnail"

    return add


@pytest.mark.parametrize(
    ("query", "size"),
    [
        pytest.param("", (256, 171), id="default"),
        pytest.param("?size=64", (64, 43), id="small"),
        pytest.param("?size=512", (300, 200), id="never larger than the picture"),
    ],
)
async def test_it_fits_the_size(client: AsyncClient, at: str, query: str, size: tuple[int, int]) -> None:
    response = await client.get(at + query)

    assert opened(response).size == size
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("size", ["0", "100", "65536", "-64", "big", "64.0"])
async def test_other_sizes_are_refused(client: AsyncClient, at: str, size: str) -> None:
    assert problem(await client.get(f"{at}?size={size}")) == (
        400,
        "validation_error",
        "Field 'size' must be one of: 64, 128, 256, 512, 1024",
    )


async def test_the_second_one_is_read_and_not_made(
    client: AsyncClient, at: str, asset: dict[str, Any], location: Path
) -> None:
    first = await client.get(f"{at}?size=64")
    kept = location / ".kroma" / "thumbnails" / f"{asset['sha256']}_64.webp"
    kept.write_bytes(b"RIFF....WEBPwhat is kept")
    second = await client.get(f"{at}?size=64")

    assert opened(first).format == "WEBP"
    assert second.content == b"RIFF....WEBPwhat is kept"
    assert second.headers["etag"] == first.headers["etag"] == f'"{asset["sha256"]}-64"'


@pytest.mark.parametrize("junk", [b"", b"<html>", b"RIFF....WEBP" + bytes(9 * 1024**2)])
async def test_one_that_was_tampered_with_is_made_again(
    client: AsyncClient, at: str, asset: dict[str, Any], location: Path, junk: bytes
) -> None:
    first = await client.get(at)
    (location / ".kroma" / "thumbnails" / f"{asset['sha256']}_256.webp").write_bytes(junk)

    assert (await client.get(at)).content == first.content


async def test_who_has_it_is_told_so(
    client: AsyncClient, at: str, asset: dict[str, Any], location: Path
) -> None:
    tag = f'"{asset["sha256"]}-256"'
    response = await client.get(at, headers={"If-None-Match": tag})

    assert (response.status_code, response.headers["etag"]) == (304, tag)
    assert not any("thumbnails" in name for name in files_in(location))


async def test_head_has_its_headers(client: AsyncClient, at: str) -> None:
    whole, head = await client.get(at), await client.head(at)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))


@pytest.mark.parametrize("name", corpus.GOOD)
async def test_every_picture_stands_upright_in_srgb_with_its_alpha(
    client: AsyncClient, slug: str, name: str
) -> None:
    sample = corpus.sample(name)
    (asset,) = await uploaded(client, slug, (name, sample.data))
    response = await client.get(f"/api/projects/{slug}/assets/{asset['id']}/thumbnail?size=64")
    image = opened(response)

    assert image.size == (corpus.WIDTH, corpus.HEIGHT)
    assert ("A" in image.mode) == sample.alpha
    if not sample.gray:
        red, _, blue = image.convert("RGB").getpixel((4, 20))
        assert red > blue + 40


class CountingPool(CpuPool):
    """Counts what it runs."""

    def __init__(self, inner: CpuPool) -> None:
        super().__init__(1)
        self._inner = inner
        self.names: list[str] = []

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.names.append(function.__name__)
        return await self._inner.run(function, *args, **kwargs)


async def test_many_at_once_cost_one_making(
    client_with: ClientFactory, fresh_db: Database, cpu: CpuPool
) -> None:
    counting = CountingPool(cpu)
    client = client_with(fresh_db, cpu=counting, KROMA_API_AUTH_DEV_BYPASS="1")
    await client.post("/api/projects", json={"name": "Comic"})
    (asset,) = await uploaded(client, "comic", ("a.png", noise_png(300, 200)))
    at = f"/api/projects/comic/assets/{asset['id']}/thumbnail"
    replies = await asyncio.gather(*(client.get(at) for _ in range(12)))

    assert {reply.content for reply in replies} == {replies[0].content}
    assert counting.names.count("thumbnail") == 1


async def test_it_is_no_scene(client: AsyncClient, slug: str, at: str) -> None:
    assert (await client.get(at)).status_code == 200
    response = await client.post(f"/api/projects/{slug}/runs/trigger", json={"mode": "dry", "input": "."})

    assert (await client.get(f"{response.headers['Location']}/jobs")).json()["count"] == 1


async def test_a_store_without_room_for_it_still_shows_it(
    client: AsyncClient, at: str, location: Path
) -> None:
    (location / ".kroma").mkdir(exist_ok=True)
    (location / ".kroma" / "thumbnails").write_bytes(b"a file where a folder should be")

    assert opened(await client.get(at)).size == (256, 171)


@pytest.mark.parametrize(
    ("data", "mime_type", "expected"),
    [
        pytest.param(b"<svg/>", "image/svg+xml", "is not a picture", id="no picture by its row"),
        pytest.param(b"<svg/>", "image/png", "cannot be read: it is an SVG", id="no picture by its bytes"),
        pytest.param(corpus.sample("truncated_inside_png").data, "image/png", "is truncated", id="broken"),
        pytest.param(corpus.sample("huge_png").data, "image/png", "is too large", id="bomb"),
    ],
)
async def test_what_cannot_be_shown_is_a_clear_400(
    client: AsyncClient, add_picture: AddPicture, data: bytes, mime_type: str, expected: str
) -> None:
    status, _, text = problem(await client.get(await add_picture(data, mime_type)))

    assert status == 400
    assert expected in text


async def test_an_edited_file_is_not_kept_under_the_old_ones_name(
    client: AsyncClient, at: str, asset: dict[str, Any], location: Path
) -> None:
    (location / asset["rel_path"]).write_bytes(scene_png(200, 300))

    assert opened(await client.get(at)).size == (171, 256)
    assert files_in(location) == [asset["rel_path"]]


async def test_an_edited_file_is_shown_as_it_is_now(
    client: AsyncClient, at: str, asset: dict[str, Any], location: Path
) -> None:
    before = await client.get(at)
    edited = scene_png(200, 300)
    (location / asset["rel_path"]).write_bytes(edited)
    after = await client.get(at, headers={"If-None-Match": before.headers["etag"]})

    assert opened(after).size == (171, 256)
    assert after.headers["etag"] == f'"{hashlib.sha256(edited).hexdigest()}-256"'
