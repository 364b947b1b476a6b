"""Requests that last longer than their token, over real connections."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from support.builders.factories import noise_png, scene_png
from support.builders.uploads import BOUNDARY, form, part
from support.servers.api_process import served, stopped

pytestmark = pytest.mark.timeout(120)

HEARTBEAT_S = 0.3
PROJECT = "/api/projects/comic"


class Server:
    """One with a project, an owner and a token of the project."""

    def __init__(self, owner: httpx.Client) -> None:
        self.owner = owner
        made = owner.post("/auth/token", json={}).raise_for_status().json()["auth_token"]
        owner.headers["Authorization"] = f"Bearer {made['token']}"
        owner.post("/api/projects", json={"name": "Comic"}).raise_for_status()
        self.id = ""
        self.headers = self.token()

    def token(self, expires_at: str | None = None) -> dict[str, str]:
        body = {"project_slug": "comic", "expires_at": expires_at}
        made = self.owner.post("/auth/token", json=body).raise_for_status().json()["auth_token"]
        self.id = made["id"]
        return {"Authorization": f"Bearer {made['token']}"}

    def revoke(self, *, after_s: float = 0) -> None:
        def revoke() -> None:
            self.owner.delete(f"/auth/tokens/{self.id}").raise_for_status()

        if after_s:
            timer = threading.Timer(after_s, revoke)
            timer.daemon = True
            timer.start()
        else:
            revoke()


@pytest.fixture
def root(data_dir: Path) -> Path:
    location = data_dir / "var" / "projects" / "comic"
    location.mkdir(parents=True)
    (location / "a.png").write_bytes(scene_png())
    return location


@pytest.fixture
def server(data_dir: Path, root: Path, fresh_database_url: str) -> Iterator[Server]:
    del root
    variables = {
        "KROMA_DATABASE_URL": fresh_database_url,
        "KROMA_QUEUE": "postgres",
        "KROMA_EVENTS_HEARTBEAT_S": str(HEARTBEAT_S),
    }
    with served(data_dir, **variables) as (process, client):
        yield Server(client)
        assert not [line for line in stopped(process) if "request failed" in line]


def open_run(server: Server) -> str:
    """The address of a run that nobody carries."""
    body = {"mode": "run", "confirm_spend": True, "scene_refs": ["a.png"]}
    made = server.owner.post(f"{PROJECT}/runs/trigger", json=body).raise_for_status()
    return f"{PROJECT}/runs/{made.json()['run']['id']}"


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_the_stream_of_a_token_that_ended_ends(server: Server, how: str) -> None:
    run = open_run(server)
    headers = server.headers
    if how == "expired":
        soon = datetime.now(UTC) + timedelta(seconds=2)
        headers = server.token(soon.isoformat(timespec="seconds"))
    headers = {**headers, "Accept": "text/event-stream"}
    with server.owner.stream("GET", f"{run}/events", headers=headers) as stream:
        assert stream.status_code == 200
        lines = stream.iter_lines()
        while "still here" not in next(lines):
            pass
        if how == "revoked":
            server.revoke()
        began = time.monotonic()
        assert len(list(lines)) < 40  # it ends, without an error
    assert time.monotonic() - began < 20
    assert server.owner.get(f"{run}/events", headers=headers).status_code == 401


def test_other_streams_go_on(server: Server) -> None:
    run = open_run(server)
    others = {**server.token(), "Accept": "text/event-stream"}
    server.token()
    with server.owner.stream("GET", f"{run}/events", headers=others) as stream:
        lines = stream.iter_lines()
        server.revoke()
        for _ in range(4):
            while "still here" not in next(lines):
                pass


def test_who_waits_for_a_run_with_a_token_that_ended_is_told_so(server: Server) -> None:
    body = {"mode": "run", "confirm_spend": True, "scene_refs": ["a.png"]}
    server.revoke(after_s=1)
    headers = {**server.headers, "Prefer": "wait=3"}
    answer = server.owner.post(f"{PROJECT}/runs/trigger", json=body, headers=headers)

    assert (answer.status_code, answer.json()["error_code"]) == (401, "unauthorized")


def test_an_upload_whose_token_ended_on_the_way_leaves_nothing(server: Server, root: Path) -> None:
    body = form(part("file", noise_png(200, 150), filename="a.png"))

    def slowly() -> Iterator[bytes]:
        yield body[:1000]
        server.revoke()
        time.sleep(2 * HEARTBEAT_S)
        yield body[1000:]

    headers = {**server.headers, "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = server.owner.post(f"{PROJECT}/assets", content=slowly(), headers=headers)

    assert answer.status_code == 401
    assert server.owner.get(f"{PROJECT}/assets").json()["count"] == 0
    assert [file.name for file in root.iterdir()] == ["a.png"]


def test_a_download_whose_token_ended_on_the_way_ends_early(server: Server) -> None:
    picture = noise_png(3000, 3000)
    kept = server.owner.post(f"{PROJECT}/assets", files={"file": ("a.png", picture)}).raise_for_status()
    path = f"{PROJECT}/assets/{kept.json()['assets'][0]['id']}/content"
    got = 0
    with server.owner.stream("GET", path, headers=server.headers) as answer:
        assert int(answer.headers["content-length"]) == len(picture) > 20 * 1024**2
        chunks = answer.iter_raw(65536)
        got += len(next(chunks))
        server.revoke()
        time.sleep(4 * HEARTBEAT_S)
        with suppress(httpx.RemoteProtocolError):
            got += sum(map(len, chunks))
    assert got < len(picture)
