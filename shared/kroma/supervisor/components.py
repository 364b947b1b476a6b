"""How each part of the stack is started, and when it counts as ready."""

import asyncio
import http.client
import ipaddress
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Final

from kroma.config import Bind
from kroma.embedded.server_process import EmbeddedServer, spawn
from kroma.supervisor.child import Child
from kroma.supervisor.child_log import ChildLog

READY_TIMEOUT_S: Final = 60.0
"""Two seconds on an idle machine; a busy one must not end the start."""
_POLL_S: Final = 0.02
# API and worker stop beside each other, then Valkey, then PostgreSQL: 4 + 2 + 3 stay below 10 s.
_SERVICE_GRACE_S: Final = 4.0
_SETTLE_S: Final = 32.0
"""A worker may take so much longer, but does only while a paid call is in flight."""
_VALKEY_GRACE_S: Final = 2.0
_POSTGRES_GRACE_S: Final = 3.0
_SERVER_ATTEMPTS: Final = 5
"""Another program may take the free port between our look and the server's start."""


def log_for(data_dir: Path, name: str) -> ChildLog:
    """The log of one part."""
    return ChildLog(data_dir / "logs" / f"{name}.log")


def postgres_child(server: EmbeddedServer, data_dir: Path) -> Child:
    """PostgreSQL: fast shutdown at the end."""
    return _server_child(server, log_for(data_dir, "postgres"), signal.SIGINT, _POSTGRES_GRACE_S)


def valkey_child(server: EmbeddedServer, data_dir: Path) -> Child:
    """Valkey."""
    return _server_child(server, log_for(data_dir, "valkey"), signal.SIGTERM, _VALKEY_GRACE_S)


def _server_child(server: EmbeddedServer, log: ChildLog, stop_with: signal.Signals, grace_s: float) -> Child:
    return Child(
        server.name,
        log=log,
        prepare=server.prepare,
        launch=server.launch,
        wait_ready=lambda process: asyncio.to_thread(server.wait_ready, process),
        stop_with=stop_with,
        grace_s=grace_s,
        attempts=_SERVER_ATTEMPTS,
    )


def api_child(environment: Mapping[str, str], data_dir: Path, bind: Bind) -> Child:
    """The API: ready when ``GET /health`` answers 200."""
    return Child(
        "API",
        log=log_for(data_dir, "api"),
        launch=lambda output: _service("kroma_api", environment, output),
        wait_ready=lambda _: _healthy(bind),
        stop_with=signal.SIGTERM,
        grace_s=_SERVICE_GRACE_S,
    )


def worker_child(environment: Mapping[str, str], data_dir: Path, *, grace: timedelta) -> Child:
    """A worker: ready when it says so on the pipe it inherits."""
    ready = ReadyPipe()
    return Child(
        "worker",
        log=log_for(data_dir, "worker"),
        launch=lambda output: ready.launch("kroma_worker", environment, output),
        wait_ready=lambda _: ready.wait(),
        stop_with=signal.SIGTERM,
        grace_s=grace.total_seconds() + _SETTLE_S,
    )


def _service(
    module: str, environment: Mapping[str, str], output: int, *, keep_open: tuple[int, ...] = ()
) -> "subprocess.Popen[bytes]":
    return spawn(
        [sys.executable, "-m", module],
        # Nobody is left to wait for an orderly end.
        death_signal=signal.SIGKILL,
        output=output,
        environment=environment,
        keep_open=keep_open,
    )


class ReadyPipe:
    """The pipe on which a child writes one line once it is ready."""

    def __init__(self) -> None:
        self._reading = -1

    def launch(self, module: str, environment: Mapping[str, str], output: int) -> "subprocess.Popen[bytes]":
        """Start ``python -m module`` with the writing end."""
        self._close()
        self._reading, writing = os.pipe()
        try:
            variables = {**environment, "KROMA_READY_FD": str(writing)}
            return _service(module, variables, output, keep_open=(writing,))
        finally:
            os.close(writing)

    async def wait(self) -> None:
        """Return when the line arrives.

        Raises:
            TimeoutError: It does not.
        """
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._reading, readable.set)
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await readable.wait()
            if not os.read(self._reading, 64):
                raise TimeoutError  # closed without a word: the child is ending
        finally:
            loop.remove_reader(self._reading)
            self._close()

    def _close(self) -> None:
        if self._reading >= 0:
            os.close(self._reading)
            self._reading = -1


async def _healthy(bind: Bind) -> None:
    async with asyncio.timeout(READY_TIMEOUT_S):
        while not await asyncio.to_thread(is_healthy, bind):  # noqa: ASYNC110 - another process, no event
            await asyncio.sleep(_POLL_S)


def is_healthy(bind: Bind, *, timeout_s: float = 2.0) -> bool:
    """Whether the API there answers ``GET /health`` with 200."""
    target = reachable_bind(bind)
    connection = http.client.HTTPConnection(target.host, target.port, timeout=timeout_s)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def reachable_bind(bind: Bind) -> Bind:
    """The address to call: a bind to all addresses is reached over loopback."""
    address = ipaddress.ip_address(bind.host)
    if not address.is_unspecified:
        return bind
    return Bind("127.0.0.1" if isinstance(address, ipaddress.IPv4Address) else "::1", bind.port)
