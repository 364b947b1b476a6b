"""``kroma up`` as a process of its own, and projects on it, for tests."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil

from style_references import style_reference
from support.builders.factories import scene_png

READY = "Kroma is ready at "
_WAIT_S = 90.0
BODY = {
    "mode": "run",
    "confirm_spend": True,
    "input": "scenes",
    "style_refs": ["styles/noir.png"],
    "candidates": 2,
}


def kroma(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """A command of the command line, carried to its end."""
    return subprocess.run(
        [sys.executable, "-m", "kroma.cli", *arguments],
        env=environment(variables),
        capture_output=True,
        text=True,
        timeout=_WAIT_S,
        check=False,
    )


def environment(variables: dict[str, str]) -> dict[str, str]:
    """Ours without any KROMA variable, a free API port, a wide terminal, and ``variables``."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("KROMA_", "IAT_"))}
    return {**own, "KROMA_BACKEND_BIND": "127.0.0.1:0", "COLUMNS": "200", **variables}


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for another process to make it true."""
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that only waits for its parent to notice has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


class Up:
    """A running ``kroma up``."""

    def __init__(
        self,
        data_dir: Path,
        *options: str,
        program: Sequence[str] = (sys.executable, "-m", "kroma.cli"),
        **variables: str,
    ) -> None:
        self.data_dir = data_dir
        self._output = data_dir.parent / f"{data_dir.name}.{time.monotonic_ns()}.out"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [*program, "up", "--data-dir", str(data_dir), *options],
                cwd=data_dir.parent,  # no source on the path, whatever starts it
                env=environment(variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def ready(self) -> "Up":
        eventually(lambda: READY in self.output or self.process.poll() is not None)
        assert self.process.poll() is None, self.output
        return self

    @property
    def address(self) -> str:
        return self.output.partition(READY)[2].partition("\n")[0]

    @property
    def state(self) -> dict[str, Any]:
        return json.loads((self.data_dir / "run" / "stack.json").read_bytes())

    @property
    def pids(self) -> dict[str, int]:
        return self.state["pids"]

    def all_pids(self) -> list[int]:
        """The supervisor's and its children's, theirs included."""
        supervisor = psutil.Process(self.process.pid)
        return [supervisor.pid, *(child.pid for child in supervisor.children(recursive=True))]

    def token(self) -> str:
        return (self.data_dir / "token").read_text().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code; it has 10 s."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


class Project:
    """A project with two scenes and a style, and a client for it."""

    def __init__(self, up: Up, name: str) -> None:
        self.client = httpx.Client(
            base_url=up.address, headers={"Authorization": f"Bearer {up.token()}"}, timeout=60
        )
        made = self.client.post("/api/projects", json={"name": name}).raise_for_status().json()
        self.slug = made["project"]["slug"]
        self.path = f"/api/projects/{quote(self.slug)}"
        self.root = Path(made["storage"]["local"]["project_root"])
        for seed, scene in enumerate(("scenes/harbor.png", "scenes/tower.png")):
            self.put(scene, scene_png(seed=seed))
        self.put("styles/noir.png", style_reference("noir ink", size=(160, 200)))

    def put(self, key: str, data: bytes) -> None:
        target = self.root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def get(self, path: str) -> dict[str, Any]:
        return self.client.get(f"{self.path}{path}").raise_for_status().json()

    def trigger(self, *, wait_s: int = 60, **changes: Any) -> httpx.Response:
        return self.client.post(
            f"{self.path}/runs/trigger", json=BODY | changes, headers={"Prefer": f"wait={wait_s}"}, timeout=90
        )
