"""``python -m kroma.healthcheck api | worker``: whether the process beside it can serve.

For containers, whose images have no curl. It reads the same variables as the process it asks.
"""

import sys
from http.client import HTTPConnection, HTTPException
from typing import Final

from kroma.config import Bind, Settings, SettingsError

_TIMEOUT_S: Final = 4.0
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask a process that listens everywhere
_MOST_BYTES: Final = 4096
"""Of an answer: the engine keeps what is printed."""


def ask(bind: Bind, path: str) -> tuple[bool, str]:
    """Whether the answer is 200, and what it says or why there is none."""
    connection = HTTPConnection(_ANY.get(bind.host, bind.host), bind.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status == 200, answer.read(_MOST_BYTES).decode(errors="replace")  # noqa: PLR2004 - HTTP's
    except (OSError, HTTPException) as exc:
        return False, f"{bind.address} does not answer: {exc or type(exc).__name__}"
    finally:
        connection.close()


def main() -> None:
    """Print what the process says of itself; exit code 1 if it is not ready, 2 in a wrong environment."""
    try:
        settings = Settings.from_environment()
    except SettingsError as exc:
        sys.stderr.write(f"kroma.healthcheck: {exc.message}\n")
        sys.exit(2)
    match sys.argv[1:]:
        case ["api"]:
            bind, path = settings.bind, "/health"
        case _:
            sys.exit("usage: python -m kroma.healthcheck api | worker")
    is_ready, said = ask(bind, path)
    print(said)  # noqa: T201 - the engine keeps it beside the state
    sys.exit(0 if is_ready else 1)


if __name__ == "__main__":
    main()
