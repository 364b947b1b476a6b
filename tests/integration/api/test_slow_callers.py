"""Callers who send slowly, in pieces or not at all, on real sockets: points 2 and 8 of issue 12."""

import json
import resource
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from support.builders.factories import noise_png
from support.builders.uploads import BOUNDARY, form, part
from support.harness.raw_http import asked, connected, head, held, is_closed, read_answer
from support.servers.api_process import served, stopped

pytestmark = pytest.mark.timeout(120)

STALL_S = 0.6
JSON = "Content-Type: application/json"


@pytest.fixture
def variables(fresh_database_url: str) -> dict[str, str]:
    return {"KROMA_DATABASE_URL": fresh_database_url}


@pytest.fixture
def slow(data_dir: Path, variables: dict[str, str]) -> Iterator[tuple[Any, httpx.Client]]:
    """A server that waits only shortly for its callers, and a client of its owner."""
    with served(data_dir, KROMA_REQUEST_STALL_S=str(STALL_S), **variables) as (process, client):
        yield process, as_owner(client)


@pytest.fixture
def patient(data_dir: Path, variables: dict[str, str]) -> Iterator[httpx.Client]:
    """A server that waits longer than any test here takes."""
    with served(data_dir, KROMA_REQUEST_STALL_S="90", **variables) as (_, client):
        yield as_owner(client)


def as_owner(client: httpx.Client) -> httpx.Client:
    client.headers["Authorization"] = f"Bearer {new_token(client)}"
    client.post("/api/projects", json={"name": "Comic"}).raise_for_status()
    return client


def new_token(client: httpx.Client) -> str:
    return client.post("/auth/token", json={}).raise_for_status().json()["auth_token"]["token"]


def bearer(client: httpx.Client) -> str:
    return f"Authorization: {client.headers['Authorization']}"


def bodies(client: httpx.Client) -> dict[str, bytes]:
    """Requests of every kind of route that reads a body, each without its last bytes."""
    upload = form(part("file", noise_png(80, 60), filename="a.png"))
    multipart = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"

    def cut(path: str, kind: str, body: bytes, *headers: str) -> bytes:
        length = f"Content-Length: {len(body)}"
        return head(f"POST {path}", bearer(client), kind, length, *headers) + body[: len(body) // 2]

    trigger = b'{"mode": "dry", "scene_refs": ["scenes/a.png"]}'
    project = "/api/projects/comic"
    return {
        "json": cut("/api/projects", JSON, b'{"name": "Another"}'),
        "json in chunks": head("POST /api/projects", bearer(client), JSON, "Transfer-Encoding: chunked")
        + b'4\r\n{"na\r\n',
        "json with a key": cut("/api/projects", JSON, b'{"name": "Another"}', "Idempotency-Key: 1"),
        "trigger that waits": cut(f"{project}/runs/trigger", JSON, trigger, "Prefer: wait=60"),
        "upload": cut(f"{project}/assets", multipart, upload),
        "tool": cut("/api/tools/inspect", multipart, upload),
        "tool with a key": cut("/api/tools/inspect", multipart, upload, "Idempotency-Key: 2"),
        "stream of events": cut(f"{project}/chat/sessions", JSON, b'{"x": 1}', "Accept: text/event-stream"),
    }


def test_a_body_that_stalls_is_408_on_every_kind_of_route(slow: tuple[Any, httpx.Client]) -> None:
    process, client = slow
    for kind, data in bodies(client).items():
        started = time.monotonic()
        answer = asked(client, data)
        took_s = time.monotonic() - started

        assert answer.status == 408, (kind, answer)
        assert json.loads(answer.body)["error_code"] == "request_timeout", kind
        assert answer.headers["connection"] == "close", kind
        assert STALL_S * 0.9 < took_s < STALL_S + 5, (kind, took_s)
    lines = stopped(process)
    assert not [line for line in lines if "exception" in json.loads(line)]


def test_a_body_that_only_drips_is_408_too(slow: tuple[Any, httpx.Client]) -> None:
    _, client = slow
    request = head("POST /api/projects", bearer(client), JSON, "Content-Length: 1000")
    with closing(connected(client)) as connection:
        connection.sendall(request)
        started = time.monotonic()
        connection.settimeout(STALL_S / 4)
        while not is_dripped_off(connection):
            assert time.monotonic() - started < 10
            time.sleep(STALL_S / 4)
        connection.settimeout(10)
        assert read_answer(connection).status in {0, 408}  # a byte behind the end may tear it down
    assert time.monotonic() - started >= STALL_S * 0.9


def is_dripped_off(connection: Any) -> bool:
    """Send one more byte; whether something came back instead."""
    try:
        connection.sendall(b" ")
        return bool(connection.recv(1, 2))  # MSG_PEEK
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def test_a_body_that_is_cut_off_is_400_in_one_line(slow: tuple[Any, httpx.Client]) -> None:
    process, client = slow
    cut = bodies(client)
    for kind, data in cut.items():
        answer = asked(client, data, ends=True)
        assert answer.status in {0, 400}, (kind, answer)
        with closing(connected(client)) as connection:
            connection.sendall(data)
    client.get("/api/projects").raise_for_status()  # behind them in the log
    time.sleep(0.2)
    logged = [json.loads(line) for line in stopped(process)]

    statuses = [line["status"] for line in logged if line["event"] == "request" and line["method"] == "POST"]
    assert statuses.count(400) == 2 * len(cut), statuses
    assert not [line for line in logged if line["level"] in {"error", "warning"} or "exception" in line]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET /hea", id="half a line"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX:", id="half a head"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", id="idle behind an answer"),
    ],
)
def test_a_connection_that_sends_no_whole_head_is_closed(slow: tuple[Any, httpx.Client], data: bytes) -> None:
    _, client = slow
    with closing(connected(client, timeout=10)) as connection:
        started = time.monotonic()
        if data:
            connection.sendall(data)
        if data.endswith(b"\r\n\r\n"):
            assert read_answer(connection).status == 200
        assert is_closed(connection)
        assert STALL_S * 0.9 < time.monotonic() - started < STALL_S + 5


def test_a_stream_outlives_what_a_request_may_stall(data_dir: Path, variables: dict[str, str]) -> None:
    limits = {"KROMA_REQUEST_STALL_S": "0.3", "KROMA_EVENTS_HEARTBEAT_S": "0.2"}
    with served(data_dir, **limits, **variables) as (_, client):
        as_owner(client)
        picture = [("file", ("a.png", noise_png(80, 60)))]
        uploaded = client.post("/api/projects/comic/assets", files=picture, data={"kind": "input"})
        order = {"mode": "dry", "scene_refs": [uploaded.json()["assets"][0]["id"]]}
        links = client.post("/api/projects/comic/runs/trigger", json=order).json()["links"]
        began = time.monotonic()
        with client.stream("GET", links["events"], headers={"Accept": "text/event-stream"}) as stream:
            beats = 0
            for line in stream.iter_lines():
                beats += line == ": still here"
                if beats == 8:
                    break
        assert time.monotonic() - began > 1


@pytest.mark.parametrize("signature", ["", "?sig=1.1.9999999999.00"])
def test_an_unsigned_callback_is_refused_before_its_body(patient: httpx.Client, signature: str) -> None:
    made = patient.post("/api/projects/comic/agent/instructions", json={"instruction_text": "Bluer"})
    known = made.json()["instruction"]["id"]
    for instruction_id, status in ((known, 403), (str(uuid4()), 404), ("x", 404)):
        request = head(f"POST /agent/callback/{instruction_id}{signature}", JSON, "Content-Length: 1000")
        assert asked(patient, request + b"{", timeout=5).status == status


def test_half_sent_bodies_of_strangers_take_nothing(patient: httpx.Client) -> None:
    """600 sockets with one byte each, of callers without a token or with a wrong one."""
    wrong = "Authorization: Bearer kroma_" + "0" * 64
    with (
        held(patient, head(f"POST /agent/callback/{uuid4()}", JSON, "Content-Length: 9") + b"{", 300),
        held(patient, head("POST /api/projects", wrong, JSON, "Content-Length: 9") + b"{", 300),
    ):
        assert patient.get("/api/projects").status_code == 200
        assert patient.get("/health").status_code == 200


@pytest.mark.parametrize(
    "more", [(), ("Accept: text/event-stream",), ("Prefer: wait=60",)], ids=["plain", "accept", "prefer"]
)
def test_half_sent_bodies_of_one_token_stop_no_other(patient: httpx.Client, more: tuple[str, ...]) -> None:
    other = {"Authorization": f"Bearer {new_token(patient)}"}
    half = head("POST /api/projects", bearer(patient), JSON, "Content-Length: 99", *more) + b'{"n'
    with held(patient, half, 700) as connections:
        wait_until_counted(patient)
        for _ in range(5):
            assert patient.get("/health").status_code == 200
            assert patient.get("/api/projects", headers=other).status_code == 200
            assert patient.post("/api/projects", json={"name": "B"}, headers=other).status_code == 200
        connections[-1].settimeout(10)
        refused = read_answer(connections[-1])
    assert (refused.status, json.loads(refused.body)["error_code"]) == (503, "server_busy")
    assert refused.headers["retry-after"] == "1"


def wait_until_counted(client: httpx.Client) -> None:
    """Until one more half-sent body of this token is refused."""
    half = head("POST /api/projects", bearer(client), JSON, "Content-Length: 99") + b'{"n'
    deadline = time.monotonic() + 60
    while True:
        try:
            if asked(client, half, timeout=2).status == 503:
                return
        except TimeoutError:
            assert time.monotonic() < deadline, "nothing was refused"


def test_2200_half_open_sockets_stop_nobody(patient: httpx.Client) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    try:
        unladen_s = worst_of(patient, 100)
        with held(patient, b"GET /health HTTP/1.1\r\nX: " + b"x" * 30_000, 2200):
            assert patient.get("/health").status_code == 200
            laden_s = worst_of(patient, 100)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert laden_s < max(5 * unladen_s, 1.0), (unladen_s, laden_s)


def worst_of(client: httpx.Client, count: int) -> float:
    """The slowest of some answers, in seconds."""
    took_s: list[float] = []
    for number in range(count):
        started = time.monotonic()
        assert client.get("/health" if number % 2 else "/api/projects").status_code == 200
        took_s.append(time.monotonic() - started)
    return max(took_s)
