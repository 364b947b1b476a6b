"""The service as a process: its start, its log and its end."""

import json
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from support.servers.api_process import environment, free_port, served, stopped

pytestmark = pytest.mark.timeout(60)


def refusal(data_dir: Path, **variables: str) -> str:
    """What a process says that will not start."""
    done = subprocess.run(
        [sys.executable, "-m", "kroma_api"],
        env=environment(data_dir, **variables),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    return done.stderr


SAYS_WHAT_IS_FROZEN = """
import atexit, gc, sys
atexit.register(lambda: print("frozen", gc.get_freeze_count(), file=sys.stderr))
from kroma_api.main import main
main()
"""


def test_what_start_up_made_is_walked_by_no_collection(data_dir: Path, fresh_database_url: str) -> None:
    port = free_port()
    variables = {"KROMA_DATABASE_URL": fresh_database_url, "KROMA_BACKEND_BIND": f"127.0.0.1:{port}"}
    process = subprocess.Popen(
        [sys.executable, "-c", SAYS_WHAT_IS_FROZEN],
        env=environment(data_dir, **variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            transport = httpx.HTTPTransport(retries=10)
            with httpx.Client(transport=transport, base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                assert client.get("/health").status_code == 200
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()

    # Litestar's routes alone are more; a start without them would have nothing to freeze.
    assert int(said.split()[-1]) > 50_000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_and_ends_on_a_signal(
    data_dir: Path, fresh_database_url: str, number: signal.Signals
) -> None:
    with served(data_dir, KROMA_DATABASE_URL=fresh_database_url) as (process, client):
        assert client.get("/health").json()["ok"] is True
        stopped(process, number)


def test_its_log_has_a_line_per_request_and_no_token(data_dir: Path, fresh_database_url: str) -> None:
    with served(data_dir, KROMA_DATABASE_URL=fresh_database_url) as (process, client):
        token = client.post("/auth/token", json={}).json()["auth_token"]["token"]
        headers = {"Authorization": f"Bearer {token}"}
        listed = client.get("/api/projects?username=private", headers=headers)
        client.get("/health")
        lines = stopped(process)

    logged = [json.loads(line) for line in lines]
    assert [(line["method"], line["path"], line["status"]) for line in logged] == [
        ("POST", "/auth/token", 200),
        ("GET", "/api/projects", 200),
    ]
    assert logged[1]["request_id"] == listed.headers["x-request-id"]
    assert token not in "".join(lines)
    assert "private" not in "".join(lines)


def test_what_is_pasted_into_a_request_does_not_reach_the_log(
    data_dir: Path, fresh_database_url: str
) -> None:
    keys = ["sk-proj-abc123def456ghi789", "AKIAIOSFODNN7EXAMPLE", "p%40ssw0rd!"]
    with served(data_dir, KROMA_DATABASE_URL=fresh_database_url) as (process, client):
        token = client.post("/auth/token", json={}).json()["auth_token"]["token"]
        headers = {"Authorization": f"Bearer {token}"}
        for pasted in (token, token.upper(), *keys):
            for path in (f"/{pasted}", f"/api/projects/{pasted}", f"/api/projects/{pasted}/runs?x={pasted}"):
                client.get(path, headers={**headers, "X-Request-Id": pasted})
                client.post(path, content=pasted)
                client.post(path, content=pasted, headers={"Origin": f"https://{pasted}"})
                client.get(path, headers={"Host": pasted})
        output = "".join(stopped(process))

    assert output.count('"event":"request"') == 1 + 5 * 3 * 4
    for pasted in (token[12:], token[12:].upper(), *keys):
        assert pasted not in output


def test_paths_and_bodies_arrive_as_they_were_sent(data_dir: Path, fresh_database_url: str) -> None:
    variables = {"KROMA_DATABASE_URL": fresh_database_url, "KROMA_API_AUTH_DEV_BYPASS": "1"}
    with served(data_dir, **variables) as (process, client):
        client.post("/api/projects", json={"name": "Hero Book"})
        assert client.get("/api/projects/Hero%20Book").json()["project"]["slug"] == "hero_book"
        for path, status in (("%ff%fe", 404), ("a%00b", 400), ("hero_book/", 404), ("a%2Fstorage", 404)):
            assert client.get(f"/api/projects/{path}").status_code == status
        secrets = "/api/projects/hero_book/secrets"
        client.post(secrets, json={"provider_code": "x", "secret_name": "/a//b/", "secret_value": "y"})
        assert client.delete(f"{secrets}/x/%2Fa%2F%2Fb%2F").status_code == 200
        assert client.head("/health").content == b""
        assert client.request("OPTIONS", "/health").headers["allow"] == "GET, HEAD"
        assert client.post("/api/projects", content=b"x" * 2_200_000).status_code == 413
        stopped(process)


def test_a_database_that_is_gone_is_an_internal_error_and_no_open_door(data_dir: Path) -> None:
    url = f"postgresql://kroma@127.0.0.1:{free_port()}/gone"
    with served(data_dir, KROMA_DATABASE_URL=url, KROMA_API_AUTH_DEV_BYPASS="1") as (process, client):
        response = client.get("/api/projects")
        assert (response.status_code, response.json()["error"]) == (500, "Internal server error")
        stopped(process)
    with served(data_dir, KROMA_DATABASE_URL=url) as (process, client):
        assert client.get("/health").status_code == 200
        assert client.post("/auth/token", json={}).status_code == 401
        response = client.get("/api/projects", headers={"Authorization": "Bearer x"})
        assert (response.status_code, response.json()["error"]) == (401, "Invalid or expired token")
        stopped(process)


def test_a_request_that_a_stop_ends_is_answered_and_logged_under_its_id(
    data_dir: Path, fresh_database_url: str
) -> None:
    variables = {"KROMA_DATABASE_URL": fresh_database_url, "KROMA_API_AUTH_DEV_BYPASS": "1"}
    with served(data_dir, **variables) as (process, client):
        client.get("/health")
        url = client.base_url
        with socket.create_connection((url.host, url.port or 0), 30) as connection:
            connection.sendall(
                b"POST /api/projects HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-Id: held\r\n"
                b"Content-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
            )
            assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")  # its body is waited for
            lines = stopped(process)
            answer = connection.recv(65536)

    assert b" 500 " in answer.partition(b"\r\n")[0]
    assert b"x-request-id: held" in answer.lower()
    logged = [json.loads(line) for line in lines]
    held = [line for line in logged if line["event"] == "request" and line["request_id"] == "held"]
    assert [line["status"] for line in held] == [500]


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        pytest.param({}, "KROMA_DATABASE_URL", id="no database"),
        pytest.param({"KROMA_DATABASE_URL": "mysql://x"}, "KROMA_DATABASE_URL", id="another database"),
        pytest.param({"KROMA_BACKEND_BIND": "localhost:1"}, "KROMA_BACKEND_BIND", id="a host name"),
        pytest.param(
            {"KROMA_BACKEND_BIND": "0.0.0.0:8788", "KROMA_API_AUTH_DEV_BYPASS": "1"},
            "KROMA_API_AUTH_DEV_BYPASS",
            id="bypass beyond loopback",
        ),
    ],
)
def test_a_wrong_environment_is_one_line_that_names_the_variable(
    data_dir: Path, variables: dict[str, str], named: str
) -> None:
    assert named in refusal(data_dir, **{"KROMA_BACKEND_BIND": f"127.0.0.1:{free_port()}", **variables})


def test_a_taken_address_is_refused(data_dir: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        line = refusal(data_dir, KROMA_BACKEND_BIND=bind, KROMA_DATABASE_URL="postgresql://127.0.0.1/x")

    assert "KROMA_BACKEND_BIND" in line
