"""Uploads over a real connection, by senders that break it or lie, and on a store in a bucket."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.builders.factories import noise_png
from support.builders.uploads import BOUNDARY, files_in, form, part
from support.harness.raw_http import asked, head
from support.servers.api_process import served
from support.servers.s3_server import s3_environment

pytestmark = pytest.mark.timeout(120)

DATA = noise_png(200, 150)
ASSETS = "/api/projects/comic/assets"


@pytest.fixture
def client(data_dir: Path, fresh_database_url: str) -> Iterator[httpx.Client]:
    variables = {"KROMA_DATABASE_URL": fresh_database_url, "KROMA_API_AUTH_DEV_BYPASS": "1"}
    with served(data_dir, **variables) as (_, client):
        client.post("/api/projects", json={"name": "Comic"}).raise_for_status()
        yield client


def sent(client: httpx.Client, *pieces: bytes, length: str, ends: bool = False) -> tuple[int, bytes]:
    """The answer to a body, with the header that says how long it is."""
    kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
    request = head(f"POST {ASSETS}", kind, length) + b"".join(pieces)
    answer = asked(client, request, ends=ends)
    return answer.status, answer.body


def test_every_way_to_send_a_form(client: httpx.Client, data_dir: Path) -> None:
    body = form(part("file", DATA, filename="a.png"))
    location = data_dir / "var" / "projects" / "comic"
    location.mkdir(parents=True)

    # Its connection ends in the middle of the picture.
    status, _ = sent(client, body[: len(body) // 2], length=f"Content-Length: {len(body)}", ends=True)
    assert status in {0, 400}
    assert (client.get(ASSETS).json()["count"], files_in(location)) == (0, [])

    # It says that it is shorter than it is: the form breaks off.
    status, reply = sent(client, body, length=f"Content-Length: {len(body) // 2}")
    assert (status, b"not a complete form" in reply) == (400, True)
    assert (client.get(ASSETS).json()["count"], files_in(location)) == (0, [])

    # It is far too long by its own words.
    status, reply = sent(client, length=f"Content-Length: {1024**4}")
    assert (status, b"is larger than" in reply) == (413, True)

    # It comes in chunks, whose total nobody knows.
    chunks = [b"%x\r\n%b\r\n" % (len(body[n : n + 999]), body[n : n + 999]) for n in range(0, len(body), 999)]
    status, reply = sent(client, *chunks, b"0\r\n\r\n", length="Transfer-Encoding: chunked")
    assert status == 200, reply
    (asset,) = client.get(ASSETS).json()["assets"]

    # The file is what was sent, whole and in part.
    content = client.get(f"{ASSETS}/{asset['id']}/content")
    assert content.content == DATA
    assert client.head(f"{ASSETS}/{asset['id']}/content").headers["content-length"] == str(len(DATA))
    tail = client.get(f"{ASSETS}/{asset['id']}/content", headers={"Range": "bytes=-7"})
    assert (tail.status_code, tail.content) == (206, DATA[-7:])

    # Ten thousand parts end at the first too many, and the sender can read why.
    many = form(*[part("file", b"", filename="")] * 10_000)
    status, reply = sent(client, many, length=f"Content-Length: {len(many)}")
    assert (status, b"more than 50 fields" in reply) == (400, True)
    assert client.get("/health").json()["ok"] is True


def test_on_a_store_in_a_bucket(
    data_dir: Path, fresh_database_url: str, s3_server: str, s3_bucket: str
) -> None:
    variables = {
        "KROMA_DATABASE_URL": fresh_database_url,
        "KROMA_API_AUTH_DEV_BYPASS": "1",
        "KROMA_CALLBACK_KEY": "k" * 43,
        "KROMA_MASTER_KEY": "a2V5LWtleS1rZXkta2V5LWtleS1rZXkta2V5LWtleTA=",
        **s3_environment(s3_server, s3_bucket),
    }
    with served(data_dir, **variables) as (_, client):
        client.post("/api/projects", json={"name": "Comic"}).raise_for_status()
        files = [("file", ("Quay.png", DATA)), ("file", ("again.png", DATA))]
        asset, twin = client.post(ASSETS, files=files, data={"kind": "input"}).json()["assets"]
        at = f"{ASSETS}/{asset['id']}"
        content = client.get(f"{at}/content")
        small = [client.get(f"{at}/thumbnail?size=64") for _ in range(2)]
        dry = client.post(
            "/api/projects/comic/runs/trigger", json={"mode": "dry", "scene_refs": [asset["id"]]}
        )
        removed = client.delete(at)
        kept = client.get(f"{at}/content")

    assert (asset["storage_backend"], twin["id"], twin["duplicate"]) == ("s3", asset["id"], True)
    assert asset["storage_uri"].startswith(f"s3://{s3_bucket}/")
    assert (content.content, content.headers["etag"]) == (DATA, f'"{hashlib.sha256(DATA).hexdigest()}"')
    assert [(one.status_code, one.headers["content-type"]) for one in small] == [(200, "image/webp")] * 2
    assert small[0].content == small[1].content
    assert dry.status_code == 202, dry.text
    # The run that reads it waits for a worker.
    assert (removed.status_code, kept.status_code) == (400, 200)
