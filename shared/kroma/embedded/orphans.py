"""Processes of a server whose supervisor was killed."""

import time
from pathlib import Path
from typing import Final

import psutil

from kroma.embedded.errors import OrphanedServerError

ORPHAN_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.01


def wait_for_orphans(server: str, folder: Path) -> None:
    """Let the processes of a server that lost its supervisor a moment ago end.

    Args:
        server: For the message.
        folder: The server's working directory, which tells its processes from all others.

    Raises:
        OrphanedServerError: One still runs after 10 s.
    """
    deadline = time.monotonic() + ORPHAN_TIMEOUT_S
    while (pid := _process_in(folder.resolve())) is not None:
        if time.monotonic() > deadline:
            raise OrphanedServerError(server, pid)
        time.sleep(_POLL_S)


def _process_in(folder: Path) -> int | None:
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder):
                return process.pid
        except (psutil.Error, OSError):  # gone, a zombie, or another account's: not ours
            continue
    return None
