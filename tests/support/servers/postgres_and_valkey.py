"""One PostgreSQL and one Valkey for a whole test run, started when the first test needs them.

Under xdist the controller owns them, because a worker may end before its siblings; it passes their
addresses through a file in the run's own folder, which every worker knows.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, Self
from uuid import uuid4

import msgspec

from kroma.embedded.postgres import USER, EmbeddedPostgres
from kroma.embedded.valkey import EmbeddedValkey

TEMPLATE: Final = "kroma"
"""The database our migrations built; every other one is a copy of it."""
_WAIT_S: Final = 60.0
_FAST: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
}


class Addresses(msgspec.Struct, frozen=True):
    """Where the run's servers listen, or why they do not."""

    database_url: str = ""
    redis_url: str = ""
    problem: str = ""

    @classmethod
    def awaited(cls, folder: Path) -> Self:
        """What the controller wrote; it starts the servers once the tests are collected."""
        note = folder / "addresses.json"
        deadline = time.monotonic() + _WAIT_S
        while not note.is_file():
            if time.monotonic() > deadline:
                message = "the xdist controller started no servers"
                raise TimeoutError(message)
            time.sleep(0.02)
        addresses = msgspec.json.decode(note.read_bytes(), type=cls)
        if addresses.problem:
            raise RuntimeError(addresses.problem)
        return addresses


class Servers:
    """The two servers in a folder of their own, which ``nobody`` can reach when we are root."""

    def __init__(self) -> None:
        # Only its name: most runs of unit tests need no servers.
        self.folder = Path(tempfile.gettempdir()) / f"kroma-tests-{uuid4().hex}"
        self._postgres = EmbeddedPostgres(self.folder, settings=_FAST)
        self._valkey = EmbeddedValkey(self.folder)
        self._addresses: Addresses | None = None

    def started(self) -> Addresses:
        """The addresses; the first call starts the servers and runs the migrations."""
        if self._addresses is None:
            self.folder.mkdir()
            self.folder.chmod(0o711)
            self._valkey.start()
            self._postgres.prepare()
            # Tests make databases of their own, look into those of others and play migrations of strangers.
            self._postgres.run_as_superuser(f"ALTER ROLE {USER} SUPERUSER;")
            self._postgres.start()
            # A process of its own: Alembic runs an event loop, and so may the caller.
            subprocess.run(
                [sys.executable, "-m", "kroma.migrations.run", "upgrade"],
                env={"KROMA_DATABASE_URL": self._postgres.url},
                check=True,
            )
            self._addresses = Addresses(self._postgres.url, self._valkey.url)
        return self._addresses

    def announce(self) -> None:
        """Start, then tell the xdist workers; a failure reaches the tests that need a server."""
        try:
            addresses = self.started()
        except Exception as exc:  # noqa: BLE001 - every worker waits for this answer
            addresses = Addresses(problem=f"the test servers did not start: {exc}")
        self.folder.mkdir(exist_ok=True)
        partial = self.folder / "addresses.partial"
        partial.write_bytes(msgspec.json.encode(addresses))
        partial.rename(self.folder / "addresses.json")

    def stop(self) -> None:
        """Leave no process and no file."""
        self._postgres.stop()
        self._valkey.stop()
        if self.folder.exists():
            shutil.rmtree(self.folder)
