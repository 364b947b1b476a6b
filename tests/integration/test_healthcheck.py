"""The command that a container's health check runs, against a server that answers as told."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytestmark = pytest.mark.timeout(60)


@contextmanager
def answering(status: str, body: str) -> Iterator[tuple[int, list[str]]]:
    """A server's port, and the first lines of the requests it got."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                asked.append(connection.recv(4096).decode().splitlines()[0])
                connection.sendall(f"HTTP/1.1 {status}\r\nConnection: close\r\n\r\n{body}".encode())

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], asked
        thread.join()


def asked_of(service: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """The command, carried to its end."""
    return subprocess.run(
        [sys.executable, "-m", "kroma.healthcheck", service],
        env=variables,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("service", "variable", "without"),
    [
        pytest.param("api", "KROMA_BACKEND_BIND", "queue,worker", id="api"),
        pytest.param("worker", "KROMA_WORKER_METRICS_BIND", "queue", id="worker"),
    ],
)
@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        pytest.param("200 OK", '{"ok":true}', 0, id="ready"),
        pytest.param(
            "503 Service Unavailable", '{"ok":false,"error":"Not ready: database"}', 1, id="not-ready"
        ),
    ],
)
def test_it_asks_the_process_and_shows_its_answer(
    *, service: str, variable: str, without: str, status: str, body: str, code: int
) -> None:
    with answering(status, body) as (port, asked):
        # In a container a service listens everywhere, which is no address to ask.
        done = asked_of(service, **{variable: f"0.0.0.0:{port}"})
    assert (done.returncode, done.stdout.strip()) == (code, body)
    assert asked == [f"GET /health/ready?without={without} HTTP/1.1"]


def test_a_process_that_does_not_answer_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    done = asked_of("api", KROMA_BACKEND_BIND=f"127.0.0.1:{port}")
    assert (done.returncode, done.stdout) == (1, f"127.0.0.1:{port} does not answer: Connection refused\n")


def test_a_wrong_environment_is_one_line_that_names_the_variable() -> None:
    done = asked_of("api", KROMA_BACKEND_BIND="here")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "kroma.healthcheck: KROMA_BACKEND_BIND must be ip:port, such as 127.0.0.1:8788"
    ]


def test_a_worker_that_shows_nothing_cannot_be_asked() -> None:
    done = asked_of("worker", KROMA_WORKER_METRICS_BIND="off")
    assert done.returncode == 1
    assert done.stderr == "KROMA_WORKER_METRICS_BIND is off: the worker shows its health there\n"
