"""The stack under siege, and what is watched of it all along."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import psutil

from kroma.embedded.server_process import free_port, spawn
from siege.planted import Planted
from siege.prober import Samples
from support.servers.kroma_stack import Up, eventually

TESTS: Final = Path(__file__).parent.parent
LOOK_EVERY_S: Final = 0.05
MIB: Final = 1024 * 1024


def operators_environment(planted: Planted, *, metrics_port: int) -> dict[str, str]:
    """What an operator sets: keys of every service, and one host on loopback that may be called."""
    key = urlsafe_b64encode(planted.bytes_for("previous master key")).decode()
    planted.add("previous master key", key)
    return {
        "KROMA_URL_ALLOW": "127.0.0.1",
        "KROMA_METRICS_BIND": f"127.0.0.1:{metrics_port}",
        "KROMA_WORKER_METRICS_BIND": "off",
        "KROMA_MASTER_KEY_PREVIOUS": key,
        "KROMA_CALLBACK_KEY": planted.make("callback key", like="callback-{}"),
        "KROMA_AGENT_API_TOKEN": planted.make("operator's agent token", like="agent-{}"),
        "KROMA_AGENT_TIMEOUT_S": "2",
        "KROMA_AGENT_RETRIES": "0",
        "KROMA_AGENT_MAX_ATTEMPTS": "1",
        "OPENAI_API_KEY": planted.make("operator's provider key"),
        "KROMA_OPENAI_TIMEOUT_S": "4",
        "KROMA_OPENAI_CONNECT_TIMEOUT_S": "2",
        "KROMA_PROVIDER_RETRIES": "0",
        "PHOTOROOM_API_KEY": planted.make("operator's Photoroom key"),
        "REMOVE_BG_API_KEY": planted.make("operator's remove.bg key", like="rbg-{}"),
        "KROMA_BACKGROUND_TIMEOUT_S": "2",
        "AWS_ACCESS_KEY_ID": planted.make("operator's S3 key id", like="AKIA{}"),
        "AWS_SECRET_ACCESS_KEY": planted.make("operator's S3 key", like="aws/{}+x"),
        "AWS_SESSION_TOKEN": planted.make("operator's S3 session token", like="session/{}=="),
        "AWS_DEFAULT_REGION": "us-east-1",
        # The operator's own keys are for this bucket alone, whatever a project names.
        "KROMA_SYNC_BUCKETS": "operators-bucket",
    }


class Watch:
    """Samples the resident memory of the API, of its picture processes and of the worker."""

    def __init__(self, api: int, worker: int) -> None:
        self._pids = {"api": api, "worker": worker}
        self._over = threading.Event()
        self.phase = "start"
        self.peaks: dict[tuple[str, str], float] = {}
        """MiB by part and phase; ``pictures`` is the largest child of the API."""
        self.lost: list[str] = []
        """Processes that ended although nobody stopped them."""
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def peak(self, part: str) -> float:
        return max((mib for (of, _), mib in self.peaks.items() if of == part), default=0.0)

    def peak_phase(self, part: str) -> str:
        return max((mib, phase) for (of, phase), mib in self.peaks.items() if of == part)[1]

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        round_number = 0
        while not self._over.wait(LOOK_EVERY_S):
            for part, pid in self._pids.items():
                self._note(part, pid)
            round_number += 1
            if round_number % 10 == 0:
                self._look_at_children()

    def _look_at_children(self) -> None:
        try:
            children = psutil.Process(self._pids["api"]).children(recursive=True)
        except psutil.Error:
            return
        for child in children:
            self._note("pictures", child.pid)

    def _note(self, part: str, pid: int) -> None:
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            if part in self._pids and part not in self.lost:
                self.lost.append(part)
            return
        mib = pages * os.sysconf("SC_PAGE_SIZE") / MIB
        key = part, self.phase
        self.peaks[key] = max(self.peaks.get(key, 0.0), mib)


class Prober:
    """The process that times the neighbor's requests."""

    def __init__(self, address: str, token: str, paths: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "siege.prober"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        order = {"host": address.removeprefix("http://"), "token": token, "paths": list(paths)}
        self._say(json.dumps(order))

    def begin(self, phase: str) -> None:
        """Count what comes to this phase; an empty one is counted to none."""
        self._say(phase)

    def end(self) -> Samples:
        output, _ = self._process.communicate(timeout=30)
        return json.loads(output or "{}")

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()


class Stack:
    """``kroma up`` with an operator's keys, and a double of the paid provider."""

    def __init__(self, folder: Path, planted: Planted) -> None:
        self.folder = folder
        self.planted = planted
        self.metrics_port = free_port()
        self.environment = operators_environment(planted, metrics_port=self.metrics_port)
        self.up = Up(folder / "data", **self.environment)
        self.provider_url = ""
        self._double: subprocess.Popen[bytes] | None = None
        self.pids: list[int] = []

    def __enter__(self) -> Self:
        try:
            self.up.ready()
            self._start_double()
        except BaseException:
            self.stop()
            raise
        self.pids = self.up.all_pids()
        planted, state = self.planted, self.state
        planted.add("owner's token", self.up.token(), lies_in=("token",))
        database = state["database_url"].partition("://")[2].partition("@")[0].partition(":")[2]
        locations = ("postgres/password", "postgres/app_password")
        planted.add("database password", database, lies_in=("run/stack.json", *locations))
        for location in locations:
            if (self.data_dir / location).is_file():
                password = (self.data_dir / location).read_text().strip()
                planted.add("database password", password, lies_in=("run/stack.json", *locations))
        queue = state["redis_url"].partition("://")[2].partition("@")[0].partition(":")[2]
        planted.add("Redis password", queue, lies_in=("run/stack.json", "valkey/valkey.conf"))
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def state(self) -> dict[str, Any]:
        return self.up.state

    @property
    def data_dir(self) -> Path:
        return self.up.data_dir

    @property
    def output(self) -> str:
        """What ``kroma up`` said, without the one line that shows the first token."""
        return self.up.output.replace(f"Token: {self.up.token()}", "")

    @property
    def master_key_file(self) -> Path:
        return self.data_dir / "var" / "backend" / "master.key"

    def stop(self) -> int:
        """Its exit code; no process is left after it."""
        if self._double is not None and self._double.poll() is None:
            self._double.kill()
            self._double.wait()
        return self.up.stop()

    def left_behind(self) -> list[int]:
        """Processes of the stack that still run."""
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline and any(psutil.pid_exists(pid) for pid in self.pids):
            time.sleep(0.05)
        return [pid for pid in self.pids if psutil.pid_exists(pid)]

    def _start_double(self) -> None:
        log = self.folder / "double.log"
        command = [sys.executable, str(TESTS / "support" / "doubles" / "openai_double.py"), "--port", "0"]
        with log.open("ab") as output:
            self._double = spawn(
                [*command, "--state", str(self.folder / "bills.jsonl")],
                death_signal=signal.SIGKILL,
                output=output,
                environment=os.environ,
            )
        eventually(lambda: "listening on " in log.read_text())
        self.provider_url = log.read_text().partition("listening on ")[2].split()[0]
