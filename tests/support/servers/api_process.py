"""The API as a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(data_dir: Path, **variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KROMA_", "IAT_"))}
    own = {"KROMA_DATA_DIR": str(data_dir), "KROMA_QUEUE": "postgres", "KROMA_METRICS_BIND": "off"}
    return {**kept, **own, **variables}


@contextmanager
def served(data_dir: Path, **variables: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    bind = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [sys.executable, "-m", "kroma_api"],
        env=environment(data_dir, KROMA_BACKEND_BIND=bind, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pipesize=1024**2,  # nobody reads its log before its end, and a full pipe would hold it up
    )
    transport = httpx.HTTPTransport(retries=10)  # until it listens
    with process, httpx.Client(transport=transport, base_url=f"http://{bind}", timeout=30) as client:
        try:
            assert process.stdout is not None
            events = [json.loads(process.stdout.readline())["event"]]
            if events == ["database.waiting"]:
                events = [json.loads(process.stdout.readline())["event"]]
            assert events == ["serving"]
            yield process, client
        finally:
            process.kill()  # first, because the end of ``with process`` waits for it


def stopped(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> list[str]:
    """The lines it logged; it must end well."""
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    return output.splitlines()
