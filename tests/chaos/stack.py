"""The processes of the experiment, and how each is broken and mended.

All of it from one thread: the kernel ties the children to the thread that starts them.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chaos.plan import WORKERS, Disturbance
from kroma.embedded.postgres import EmbeddedPostgres
from kroma.embedded.server_process import free_port, spawn
from kroma.embedded.valkey import EmbeddedValkey

TESTS: Final = Path(__file__).parent.parent
WAIT_S: Final = 60.0
GRACE_S: Final = 30.0
API: Final = "api"
WORKER: Final = "worker"
VALKEY: Final = "valkey"
POSTGRES: Final = "postgres"
DOUBLE: Final = "double"
POSTGRES_SETTINGS: Final = {"fsync": "off", "max_connections": "200"}
"""Only the process is killed, not the machine: what was written is in the kernel's hands."""


class Stack:
    """PostgreSQL, Valkey, one API, several workers and the double of the paid provider."""

    def __init__(self, folder: Path, *, seed: int, lease_s: float | None) -> None:
        self.folder = folder
        self.bills = folder / "bills.jsonl"
        self.accidents: list[str] = []
        """Processes that ended without being told to."""
        self._seed = seed
        self._lease_s = lease_s
        self._postgres = EmbeddedPostgres(folder, settings=POSTGRES_SETTINGS)
        self._valkey = EmbeddedValkey(folder)
        self._servers: dict[str, EmbeddedPostgres | EmbeddedValkey] = {
            POSTGRES: self._postgres,
            VALKEY: self._valkey,
        }
        self._services: dict[str, subprocess.Popen[bytes]] = {}
        self._frozen: set[str] = set()
        self._absent: set[str] = set()
        """Services that are down because we broke them."""
        self._verbs: dict[str, Callable[[str], Callable[[], None] | None]] = {
            "kill": self._kill,
            "freeze": self._freeze,
            "restart": self._restart,
            "flush": self._flush,
            "fill": self._fill,
        }
        self._leaving: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
        """Services that were told to stop, and until when they may take."""
        self.api_url = ""
        self.provider_url = ""
        self._environment: dict[str, str] = {}

    @property
    def database_url(self) -> str:
        return self._postgres.url

    @property
    def workers(self) -> list[str]:
        return [f"{WORKER}{number}" for number in range(WORKERS)]

    def start(self) -> None:
        """Everything, ready to be used."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)
        (self.folder / "logs").mkdir()
        self._valkey.start()
        self._postgres.start()
        # A process of its own, because Alembic runs an event loop.
        subprocess.run(
            [sys.executable, "-m", "kroma.migrations.run", "upgrade"],
            env={**os.environ, "KROMA_DATABASE_URL": self._postgres.url},
            check=True,
        )
        self._start_double()
        bind = f"127.0.0.1:{free_port()}"
        self.api_url = f"http://{bind}"
        own = {name: value for name, value in os.environ.items() if not name.startswith(("KROMA_", "IAT_"))}
        self._environment = {
            **own,
            "KROMA_DATA_DIR": str(self.folder),
            "KROMA_DATABASE_URL": self._postgres.url,
            "KROMA_REDIS_URL": self._valkey.url,
            "KROMA_BACKEND_BIND": bind,
            "KROMA_URL_ALLOW": "127.0.0.1",
            "KROMA_CPU_PROCESSES": "1",
            "PYTHONUNBUFFERED": "1",
        }
        if self._lease_s is not None:
            self._environment["KROMA_LEASE_S"] = str(self._lease_s)
        for name in (API, *self.workers):
            self._launch(name)
        self._await(self._answers)

    def set_weather(self, faults: bytes) -> None:
        """What the provider does from now on, as a JSON list of faults."""
        httpx.post(self._double("/double/script"), content=faults).raise_for_status()

    def provider_state(self) -> dict[str, Any]:
        """What the double counted."""
        return httpx.get(self._double("/double/state")).raise_for_status().json()

    def _double(self, path: str) -> str:
        return self.provider_url.removesuffix("/v1") + path

    def break_part(self, disturbance: Disturbance) -> Callable[[], None] | None:
        """Do it; what mends it after a while, if anything has to."""
        verb, _, part = disturbance.what.partition("_")
        name = self.workers[disturbance.target] if part == WORKER else part
        return self._verbs[verb](name)

    def look_after(self) -> None:
        """Note services that ended by themselves, and start what ended again, as a supervisor would."""
        for name, (process, until) in list(self._leaving.items()):
            if process.poll() is not None or time.monotonic() > until:
                del self._leaving[name]
                self._end(process, wait_s=0)
                self._relaunch(name)
        for name, process in self._services.items():
            if name not in self._absent and (status := process.poll()) is not None:
                self.accidents.append(f"{name} ended by itself with status {status}")
                if name != DOUBLE:
                    self._launch(name)

    def mend(self) -> None:
        """Everything runs again, and the weather is fine."""
        for name in list(self._frozen):
            self._thaw(name)
        for server in self._servers.values():
            if server.pid is None or not psutil.pid_exists(server.pid):
                server.start()
        for process, _ in self._leaving.values():
            self._end(process)
        self._leaving.clear()
        for name in list(self._absent):
            self._launch(name)
        self._empty()
        self._await(self._answers)
        self.set_weather(b"[]")

    def stop(self) -> None:
        """No process is left."""
        for name in list(self._frozen):
            self._thaw(name)
        for process in self._services.values():
            if process.poll() is None:
                process.terminate()
        for process in self._services.values():
            self._end(process)
        self._valkey.stop()
        self._postgres.stop()

    def remove(self) -> None:
        """No file is left."""
        shutil.rmtree(self.folder)

    def _start_double(self) -> None:
        log = self.folder / "logs" / "double.log"
        command = [sys.executable, str(TESTS / "support" / "doubles" / "openai_double.py"), "--port", "0"]
        options = ["--state", str(self.bills), "--seed", str(self._seed)]
        with log.open("ab") as output:
            self._services[DOUBLE] = spawn(
                [*command, *options], death_signal=signal.SIGKILL, output=output, environment=os.environ
            )
        self._await(lambda: "listening on " in log.read_text())
        self.provider_url = log.read_text().partition("listening on ")[2].split()[0]

    def _launch(self, name: str) -> None:
        module = "kroma_api" if name == API else "kroma_worker"
        with (self.folder / "logs" / f"{name}.log").open("ab") as output:
            self._services[name] = spawn(
                [sys.executable, "-m", module],
                death_signal=signal.SIGKILL,
                output=output,
                environment=self._environment,
            )
        self._absent.discard(name)
        self._frozen.discard(name)

    def _kill(self, name: str) -> Callable[[], None]:
        if name in self._servers:
            return self._kill_server(name)
        process = self._services[name]
        self._absent.add(name)
        self._frozen.discard(name)
        process.kill()
        process.wait()
        return lambda: self._relaunch(name)

    def _relaunch(self, name: str) -> None:
        if self._services[name].poll() is not None:
            self._launch(name)

    def _restart(self, name: str) -> None:
        """Tell it to stop; `look_after` starts it again once it has ended, however busy others keep us."""
        self._thaw(name)
        self._absent.add(name)
        process = self._services[name]
        process.terminate()
        self._leaving[name] = (process, time.monotonic() + GRACE_S)

    def _kill_server(self, name: str) -> Callable[[], None]:
        server = self._servers[name]
        if server.pid is None:
            return lambda: None  # it is down already
        self._thaw(name)
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        return lambda: None if server.pid is not None else server.start()

    def _pid(self, name: str) -> int | None:
        if name in self._servers:
            return self._servers[name].pid
        process = self._services.get(name)
        return process.pid if process is not None and process.poll() is None else None

    def _freeze(self, name: str) -> Callable[[], None] | None:
        pid = self._pid(name)
        if pid is None or name in self._absent:  # dead, or about to end
            return None
        os.kill(pid, signal.SIGSTOP)
        self._frozen.add(name)
        return lambda: self._thaw(name)

    def _thaw(self, name: str) -> None:
        self._frozen.discard(name)
        if (pid := self._pid(name)) is not None:
            os.kill(pid, signal.SIGCONT)

    def _flush(self, _: str) -> None:
        self._tell_valkey("FLUSHALL")

    def _fill(self, _: str) -> Callable[[], None]:
        self._tell_valkey("CONFIG", "SET", "maxmemory", "1")
        return self._empty

    def _empty(self) -> None:
        self._tell_valkey("CONFIG", "SET", "maxmemory", "0")

    def _tell_valkey(self, *command: str) -> None:
        if self._valkey.pid is None or VALKEY in self._frozen:
            return
        with (
            suppress(redis.RedisError),
            redis.Redis.from_url(self._valkey.url, socket_timeout=2, retry=Retry(NoBackoff(), 0)) as client,
        ):
            client.execute_command(*command)

    def _end(self, process: "subprocess.Popen[bytes]", *, wait_s: float = GRACE_S) -> None:
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self.accidents.append(f"process {process.args} did not end within {GRACE_S:g} s of SIGTERM")
            process.kill()
            process.wait()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.api_url}/health", timeout=2).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _await(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not condition():
            if time.monotonic() > deadline:
                message = "a part of the stack did not become ready"
                raise TimeoutError(message)
            self.look_after()
            time.sleep(0.05)
