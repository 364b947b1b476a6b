"""One private server: started on a free port, watched until it is ready, stopped in order."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final, Protocol

from kroma.embedded.errors import ServerEndedError
from kroma.embedded.parent_death import command_with_parent

READY_TIMEOUT_S: Final = 30.0
"""Replaying the log of a killed server is part of its start."""
_POLL_S: Final = 0.01
_ATTEMPTS: Final = 5
"""Another process may take the free port between our look and the server's start."""

SERVER_ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
LOOPBACK: Final = "127.0.0.1"


class EmbeddedServer(Protocol):
    """What the supervisor asks of a private server; both start and stop block for a moment."""

    @property
    def name(self) -> str: ...

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
    environment: Mapping[str, str] | None = None,
    keep_open: Sequence[int] = (),
    given: IO[bytes] | None = None,
    folder: Path = Path("/"),
) -> "subprocess.Popen[bytes]":
    """Start a child tied to this process, in a session of its own so that Ctrl-C passes it by.

    Args:
        command: The program and its arguments.
        death_signal: What it gets when this process dies.
        output: Where both of its outputs go.
        account: User and group id to run as.
        environment: All of its variables; by default the few that a server needs.
        keep_open: File descriptors that it inherits.
        given: Its standard input; by default there is none.
        folder: Its working directory.
    """
    return subprocess.Popen(  # noqa: S603 - programs of our own and of the wheels, no shell
        command_with_parent(command, death_signal=death_signal, account=account),
        stdin=subprocess.DEVNULL if given is None else given,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=SERVER_ENVIRONMENT if environment is None else environment,
        pass_fds=keep_open,
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
