"""``python -m kroma.healthcheck api | worker``: whether the process beside it can serve.

For containers, whose images have no curl. It reads the same variables as the process it asks, and
imports little: it runs every few seconds in each of them.
"""

import socket
import sys
from typing import Final

from kroma.config import Bind, Settings, SettingsError
from kroma.terminal import refuse, visible

_TIMEOUT_S: Final = 4.0
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask a process that listens everywhere
_MOST_BYTES: Final = 8192
"""Of an answer: the engine keeps what is printed."""


def ask(bind: Bind, path: str) -> tuple[bool, str]:
    """Whether the answer is 200, and what it says or why there is none."""
    request = f"GET {path} HTTP/1.1\r\nHost: {bind.address}\r\nConnection: close\r\n\r\n"
    answer = b""
    try:
        with socket.create_connection((_ANY.get(bind.host, bind.host), bind.port), _TIMEOUT_S) as connection:
            connection.sendall(request.encode())
            while len(answer) < _MOST_BYTES and (data := connection.recv(_MOST_BYTES)):
                answer += data
    except OSError as exc:
        return False, f"{bind.address} does not answer: {exc.strerror or type(exc).__name__}"
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b" ", 2)[1:2] == [b"200"], body.decode(errors="replace").strip()


def main() -> None:
    """Print what the process says of itself; exit code 1 if it is not ready, 2 in a wrong environment."""
    try:
        settings = Settings.from_environment()
    except SettingsError as exc:
        refuse("kroma.healthcheck", exc.message)
        sys.exit(2)
    match sys.argv[1:]:
        case ["api"]:
            # Whether others work is not this container's health.
            bind, without = settings.bind, "queue,worker"
        case ["worker"] if settings.worker_metrics.is_off:
            sys.exit(f"{settings.worker_metrics.variable} is off: the worker shows its health there")
        case ["worker"]:
            bind, without = settings.worker_metrics.bind, "queue"
        case _:
            sys.exit("usage: python -m kroma.healthcheck api | worker")
    # Without the queue everything is slower, but nothing stops.
    is_ready, said = ask(bind, f"/health/ready?without={without}")
    print(visible(said, lines=True))  # noqa: T201 - the engine keeps it beside the state
    sys.exit(0 if is_ready else 1)


if __name__ == "__main__":
    main()
