"""A refusal reaches its caller, also one who sends head and body apart."""

import socket
import time
from pathlib import Path

import httpx
import pytest

from support.servers.api_process import served

pytestmark = pytest.mark.timeout(60)

HEAD = (
    "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    "Content-Length: {length}\r\n{more}\r\n"
)


def listening(client: httpx.Client) -> tuple[str, int]:
    """Where the server is, once it answers."""
    client.get("/health").raise_for_status()
    return client.base_url.host, client.base_url.port or 0


def told(address: tuple[str, int], path: str, body: bytes, *, sent: int | None = None, more: str = "") -> str:
    """The status line, for a body that comes a moment after its head; "reset" where the answer is lost."""
    with socket.create_connection(address, timeout=10) as caller:
        head = HEAD.format(path=path, host=f"{address[0]}:{address[1]}", length=len(body), more=more)
        caller.sendall(head.encode())
        time.sleep(0.1)
        try:
            caller.sendall(body[:sent])
            time.sleep(0.1)
            return caller.recv(65536).split(b"\r\n")[0].decode()
        except ConnectionError:
            return "reset"


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        pytest.param("/api/projects", "", "401 Unauthorized", id="no token"),
        pytest.param(
            "/api/tools/inspect", "Authorization: Bearer x\r\n", "401 Unauthorized", id="a wrong one"
        ),
        pytest.param(
            "/api/projects", "Origin: https://evil.example\r\n", "403 Forbidden", id="a foreign page"
        ),
        pytest.param("/agent/callback/x?sig=y", "", "404 Not Found", id="no such instruction"),
    ],
)
def test_a_refusal_of_a_small_body_is_not_lost(
    data_dir: Path, fresh_database_url: str, path: str, more: str, status: str
) -> None:
    with served(
        data_dir, KROMA_DATABASE_URL=fresh_database_url, KROMA_API_AUTH_BOOTSTRAP_FIRST_TOKEN="0"
    ) as (_, client):
        address = listening(client)

        assert [told(address, path, b"{}" * 1000, more=more) for _ in range(5)] == [f"HTTP/1.1 {status}"] * 5


@pytest.mark.parametrize(
    "length",
    [
        pytest.param("Transfer-Encoding: chunked\r\n\r\n2\r\n{}", id="chunked"),
        pytest.param("Content-Length: 100000000\r\n\r\n{}", id="large"),
    ],
)
def test_an_answer_before_the_end_of_the_body_closes_the_connection(
    data_dir: Path, fresh_database_url: str, length: str
) -> None:
    with served(data_dir, KROMA_DATABASE_URL=fresh_database_url) as (_, client):
        host, port = listening(client)
        with socket.create_connection((host, port), timeout=10) as caller:
            caller.sendall(f"POST /api/projects HTTP/1.1\r\nHost: {host}:{port}\r\n{length}".encode())
            status, *headers = caller.recv(65536).decode().split("\r\n")

        assert status == "HTTP/1.1 401 Unauthorized"
        assert "connection: close" in headers


def test_an_answer_after_the_body_keeps_the_connection(data_dir: Path, fresh_database_url: str) -> None:
    with served(data_dir, KROMA_DATABASE_URL=fresh_database_url) as (_, client):
        listening(client)

        answer = client.post("/api/projects", json={})

        assert answer.status_code == 401
        assert "connection" not in answer.headers


def test_who_never_sends_the_rest_is_answered_soon(data_dir: Path, fresh_database_url: str) -> None:
    with served(data_dir, KROMA_DATABASE_URL=fresh_database_url) as (_, client):
        address = listening(client)
        began = time.monotonic()

        assert told(address, "/api/projects", b"{}" * 1000, sent=1) == "HTTP/1.1 401 Unauthorized"
        assert time.monotonic() - began < 5
