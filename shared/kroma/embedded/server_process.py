"""One private server: started on a free port, watched until it is ready, stopped in order."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Final, Protocol

import psutil

from kroma.embedded.attached import attached_command
from kroma.embedded.errors import LeftoverServerError, ServerEndedError

READY_TIMEOUT_S: Final = 30.0
"""Replaying the log of a killed server is part of its start."""
LEFTOVER_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.01
_ATTEMPTS: Final = 5
"""Another process may take the free port between our look and the server's start."""

LOOPBACK: Final = "127.0.0.1"


class EmbeddedServer(Protocol):
    """What the supervisor asks of a private server; both start and stop block for a moment."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def url(self) -> str:
        """Its address with the password; known once it has been ready."""
        ...

    def prepare(self) -> None:
        """Make the files it needs, once; safe to run in a thread."""
        ...

    def launch(self, output: int | IO[bytes]) -> "subprocess.Popen[bytes]":
        """Start the process, on the port it had before if it had one; call it from the main thread."""
        ...

    def wait_ready(self, process: "subprocess.Popen[bytes]") -> None:
        """Return once it answers; safe to run in a thread."""
        ...


def free_port() -> int:
    """A port of the loopback interface that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def spawn(
    command: Sequence[str],
    *,
    death_signal: signal.Signals,
    output: int | IO[bytes],
    account: tuple[int, int] | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a server tied to this process, in a session of its own so that Ctrl-C passes it by."""
    return subprocess.Popen(  # noqa: S603 - the wheel's own program, no shell
        attached_command(command, death_signal=death_signal, account=account),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        start_new_session=True,
    )


def wait_until(process: "subprocess.Popen[bytes]", ready: Callable[[], bool], *, server: str) -> None:
    """Ask ``ready`` every 10 ms.

    Raises:
        ServerEndedError: The process ended, or the time ran out.
    """
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not ready():
        status = process.poll()
        if status is not None or time.monotonic() > deadline:
            raise ServerEndedError(server, status, None)
        time.sleep(_POLL_S)


def wait_for_leftover(server: str, pid: int | None, folder: Path) -> None:
    """Let a server that lost its supervisor a moment ago end.

    Args:
        server: For the message.
        pid: The process it noted; another process may have the number by now.
        folder: Its working directory, which tells it from such a one.

    Raises:
        LeftoverServerError: It still runs after 10 s.
    """
    if pid is None:
        return
    deadline = time.monotonic() + LEFTOVER_TIMEOUT_S
    while _works_in(pid, folder):
        if time.monotonic() > deadline:
            raise LeftoverServerError(server, pid)
        time.sleep(_POLL_S)


def _works_in(pid: int, folder: Path) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == folder.resolve()
    except (psutil.Error, OSError):
        return False


def start(server: EmbeddedServer, *, log: Path) -> "subprocess.Popen[bytes]":
    """Prepare, launch and wait, again on another port if the first was taken meanwhile.

    Raises:
        ServerEndedError: It never became ready.
    """
    server.prepare()
    log.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, _ATTEMPTS + 1):
        with log.open("ab") as output:
            process = server.launch(output)
        try:
            server.wait_ready(process)
        except ServerEndedError as exc:
            stop(process, signal.SIGKILL)
            if attempt == _ATTEMPTS:
                raise ServerEndedError(server.name, process.returncode, log) from exc
        else:
            return process
    raise AssertionError  # pragma: no cover - the loop returns or raises


def stop(process: "subprocess.Popen[bytes]", how: signal.Signals, *, grace_s: float = 8.0) -> None:
    """Send ``how``, wait, and kill what does not end in time."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
