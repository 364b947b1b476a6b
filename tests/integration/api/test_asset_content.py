"""``GET P/assets/{id}/content``: the file as it is, and nothing that a browser would run."""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient

from kroma.assets.models import Asset
from kroma.db.engine import Database
from kroma.projects.queries import get_project
from support.builders import corpus
from support.builders.factories import noise_png
from support.builders.uploads import problem, uploaded

pytestmark = pytest.mark.timeout(60)

DATA = noise_png(40, 30)


@pytest.fixture
async def asset(client: AsyncClient, slug: str) -> dict[str, Any]:
    """An uploaded picture."""
    return (await uploaded(client, slug, ("Quay.png", DATA)))[0]


@pytest.fixture
def at(slug: str, asset: dict[str, Any]) -> str:
    return f"/api/projects/{slug}/assets/{asset['id']}/content"


AddRow = Callable[..., Awaitable[str]]


@pytest.fixture
def add_row(db: Database, slug: str) -> AddRow:
    """Adds an asset that nobody uploaded; gives the address of its content."""

    async def add(rel_path: str, **fields: Any) -> str:
        row = {"kind": "input", "storage_uri": rel_path, "rel_path": rel_path, **fields}
        async with db.transaction() as session:
            added = Asset(project_id=(await get_project(session, slug)).id, **row)
            session.add(added)
            await session.flush()
            return f"/api/projects/{slug}/assets/{added.id}/content"

    return add


async def test_the_file_comes_as_it_was_sent(client: AsyncClient, at: str, asset: dict[str, Any]) -> None:
    response = await client.get(at)
    name = asset["rel_path"].rpartition("/")[2]

    assert (response.status_code, response.content) == (200, DATA)
    headers = {name: response.headers[name] for name in response.headers if name != "x-request-id"}
    assert headers == {
        "content-type": "image/png",
        "content-length": str(len(DATA)),
        "etag": f'"{hashlib.sha256(DATA).hexdigest()}"',
        "cache-control": "private, no-cache",
        "content-disposition": f"inline; filename=\"{name}\"; filename*=UTF-8''{name}",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "accept-ranges": "bytes",
    }


async def test_head_has_the_headers_and_no_body(client: AsyncClient, at: str) -> None:
    whole, head = await client.get(at), await client.head(at)
    own = {"x-request-id"}

    assert head.content == b""
    assert [item for item in head.headers.items() if item[0] not in own] == [
        item for item in whole.headers.items() if item[0] not in own
    ]


async def test_who_has_the_file_is_told_so(client: AsyncClient, at: str, asset: dict[str, Any]) -> None:
    tag = f'"{asset["sha256"]}"'
    known = [await client.get(at, headers={"If-None-Match": given}) for given in (tag, f'"x", W/{tag}', "*")]
    other = await client.get(at, headers={"If-None-Match": '"x"'})

    assert [(reply.status_code, reply.content, reply.headers["etag"]) for reply in known] == [
        (304, b"", tag)
    ] * 3
    assert other.status_code == 200


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        pytest.param("bytes=0-9", 0, 10, id="front"),
        pytest.param("bytes=10-19", 10, 20, id="middle"),
        pytest.param("bytes=100-", 100, len(DATA), id="open"),
        pytest.param("bytes=-20", len(DATA) - 20, len(DATA), id="end"),
        pytest.param("bytes=5-999999", 5, len(DATA), id="past the end"),
        pytest.param("bytes=-999999", 0, len(DATA), id="more than there is"),
        pytest.param(f"bytes={len(DATA) - 1}-{len(DATA) - 1}", len(DATA) - 1, len(DATA), id="last byte"),
    ],
)
async def test_a_range_comes_alone(client: AsyncClient, at: str, asked: str, start: int, end: int) -> None:
    response = await client.get(at, headers={"Range": asked})

    assert (response.status_code, response.content) == (206, DATA[start:end])
    assert response.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"
    assert response.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("asked", [f"bytes={len(DATA)}-", "bytes=999999-9999999", "bytes=-0"])
async def test_a_range_without_a_byte_is_416(client: AsyncClient, at: str, asked: str) -> None:
    response = await client.get(at, headers={"Range": asked})

    assert problem(response)[0] == 416
    assert response.headers["content-range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "bytes=9-3", "bytes=-", "bytes=a-b", "lines=0-1", "x"])
async def test_what_is_no_single_range_is_the_whole_file(client: AsyncClient, at: str, asked: str) -> None:
    response = await client.get(at, headers={"Range": asked})

    assert (response.status_code, response.content) == (200, DATA)


async def test_a_range_of_another_version_is_the_whole_file(
    client: AsyncClient, at: str, asset: dict[str, Any]
) -> None:
    tag = f'"{asset["sha256"]}"'
    statuses = [
        (await client.get(at, headers={"Range": "bytes=0-9", "If-Range": given})).status_code
        for given in (tag, '"x"', f"W/{tag}", "Sun, 22 Nov 2026 10:00:00 GMT")
    ]

    assert statuses == [206, 200, 200, 200]


async def test_a_browser_saves_it_when_asked(client: AsyncClient, at: str) -> None:
    response = await client.get(f"{at}?download=1")

    assert response.headers["content-disposition"].startswith("attachment; filename=")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param({"mime_type": "text/html"}, "application/octet-stream", id="HTML"),
        pytest.param({"mime_type": "image/svg+xml"}, "application/octet-stream", id="SVG"),
        pytest.param({}, "image/png", id="by its name"),
        pytest.param({"rel_path": "a.xyz"}, "application/octet-stream", id="unknown"),
        pytest.param({"kind": "run_log"}, "application/json", id="run log"),
    ],
)
async def test_a_browser_gets_pictures_and_logs_only(
    client: AsyncClient, add_row: AddRow, location: Path, row: dict[str, str], expected: str
) -> None:
    row = {"rel_path": "a.png", **row}
    (location / row["rel_path"]).write_bytes(b"<script>alert(1)</script>")
    headers = (await client.get(await add_row(**row))).headers

    assert (headers["content-type"], headers["x-content-type-options"]) == (expected, "nosniff")


async def test_a_name_of_any_characters_is_safe_in_a_header(
    client: AsyncClient, add_row: AddRow, location: Path
) -> None:
    name = 'гавань "\r\nX: y.png'
    (location / name).write_bytes(DATA)
    response = await client.get(await add_row(name))

    assert "x" not in response.headers
    assert 'filename="__________X__y.png"' in response.headers["content-disposition"]


async def test_a_file_that_may_change_is_asked_about_each_time(
    client: AsyncClient, add_row: AddRow, location: Path
) -> None:
    (location / "a.png").write_bytes(DATA)
    sha256 = hashlib.sha256(DATA).hexdigest()
    at = await add_row("a.png", sha256=sha256, size_bytes=len(DATA))
    first = await client.get(at)
    (location / "a.png").write_bytes(DATA + b"edited")
    second = await client.get(at, headers={"If-None-Match": first.headers["etag"]})

    assert first.headers["cache-control"] == "private, no-cache"
    assert (first.headers["etag"], second.status_code) == (f'"{sha256}"', 200)
    assert second.headers["etag"] == f'"{hashlib.sha256(second.content).hexdigest()}"'
    assert second.content == DATA + b"edited"


async def test_an_edit_of_the_same_size_shows_in_the_tag(
    client: AsyncClient, at: str, asset: dict[str, Any], location: Path
) -> None:
    first = await client.get(at)
    file = location / asset["rel_path"]
    file.write_bytes(bytes(reversed(file.read_bytes())))
    second = await client.get(at, headers={"If-None-Match": first.headers["etag"]})
    resumed = await client.get(at, headers={"Range": "bytes=0-1", "If-Range": first.headers["etag"]})

    assert second.status_code == 200
    assert second.headers["etag"] == f'"{hashlib.sha256(second.content).hexdigest()}"'
    assert (second.content, resumed.status_code) == (first.content[::-1], 200)


async def test_a_file_nobody_measured_has_its_checksum_for_a_tag(
    client: AsyncClient, add_row: AddRow, location: Path
) -> None:
    (location / "a.png").write_bytes(DATA)
    at = await add_row("a.png")
    tag = (await client.get(at)).headers["etag"]

    assert tag == f'"{hashlib.sha256(DATA).hexdigest()}"'
    assert (await client.get(at, headers={"If-None-Match": tag})).status_code == 304


@pytest.mark.parametrize("rel_path", ["gone.png", "/elsewhere/a.png", "../a.png"])
async def test_a_file_that_is_not_in_the_store_is_said_to_be_missing(
    client: AsyncClient, add_row: AddRow, rel_path: str
) -> None:
    at = await add_row(rel_path)
    status, code, text = problem(await client.get(at))
    small = problem(await client.get(at.replace("/content", "/thumbnail")))

    assert (status, code) == (404, "not_found")
    assert text == f"The file of this asset, '{rel_path}', was not found in the project's store"
    assert small == (status, code, text)


async def test_an_unchanging_file_that_is_gone_is_404(
    client: AsyncClient, at: str, asset: dict[str, Any], location: Path
) -> None:
    (location / asset["rel_path"]).unlink()

    assert problem(await client.get(at))[:2] == (404, "not_found")
    assert problem(await client.get(at, headers={"Range": "bytes=0-1"}))[:2] == (404, "not_found")


async def test_a_range_is_for_get_alone(client: AsyncClient, at: str, asset: dict[str, Any]) -> None:
    head = await client.head(at, headers={"Range": "bytes=0-1"})
    beyond = await client.head(at, headers={"Range": "bytes=99999999-"})

    assert (head.status_code, beyond.status_code) == (200, 200)
    assert head.headers["content-length"] == str(asset["size_bytes"])


@pytest.mark.parametrize("asked", [f"bytes={'9' * 5000}-", f"bytes=-{'9' * 5000}", f"bytes=0-{'9' * 5000}"])
async def test_a_range_of_endless_numbers_is_none(client: AsyncClient, at: str, asked: str) -> None:
    assert (await client.get(at, headers={"Range": asked})).status_code == 200


async def test_another_projects_asset_is_not_found(client: AsyncClient, asset: dict[str, Any]) -> None:
    await client.post("/api/projects", json={"name": "Other"})

    for what in ("content", "thumbnail"):
        assert problem(await client.get(f"/api/projects/other/assets/{asset['id']}/{what}"))[0] == 404


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "bmp"])
async def test_every_format_has_its_type(client: AsyncClient, slug: str, name: str) -> None:
    (asset,) = await uploaded(client, slug, ("x", corpus.sample(name).data))
    response = await client.get(f"/api/projects/{slug}/assets/{asset['id']}/content")

    assert response.headers["content-type"] == f"image/{'png' if name == 'bmp' else name}"
    assert hashlib.sha256(response.content).hexdigest() == asset["sha256"]
