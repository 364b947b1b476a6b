"""How services and migrators start, as processes of their own."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from kroma.db.schema import needed_revision
from kroma.logs import masked
from support.servers.api_process import free_port
from support.servers.databases import copied
from support.servers.kroma_stack import environment, eventually
from support.servers.postgres_and_valkey import Addresses

pytestmark = pytest.mark.timeout(120)

MIGRATION_LOCK = 7_305_110_211
MIGRATORS = {
    "kroma migrate": ["kroma.cli", "migrate"],
    "migrations.run": ["kroma.migrations.run", "upgrade"],
}
PROGRAMS = {"api": ["kroma_api"], "worker": ["kroma_worker"], **MIGRATORS}
COMMANDS = {**PROGRAMS, "kroma token list": ["kroma.cli", "token", "list"]}

Start = Callable[..., "Process"]


class Process:
    """A process of ours, and what it has said."""

    def __init__(self, folder: Path, module: str, *arguments: str, **variables: str) -> None:
        self.module = module
        self._output = folder / f"{module}.{free_port()}.out"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=environment(
                    {
                        "KROMA_DATA_DIR": str(folder),
                        "KROMA_QUEUE": "postgres",
                        "KROMA_METRICS_BIND": "127.0.0.1:0",
                        **variables,
                    }
                ),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def events(self) -> Mapping[str, Any]:
        lines = [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]
        return {line["event"]: line for line in lines}

    def said(self, event: str) -> Mapping[str, Any]:
        """The line of an event, when it comes."""
        eventually(lambda: event in self.events or self.process.poll() is not None)
        assert event in self.events, self.output
        return self.events[event]

    def ended(self) -> int:
        return self.process.wait(60)

    def stopped(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.ended()


class Relay:
    """A port that leads to a server once it is opened."""

    def __init__(self, url: str) -> None:
        self.port = free_port()
        host, _, port = url.rpartition("@")[2].partition("/")[0].rpartition(":")
        self.url = url.replace(f"@{host}:{port}", f"@127.0.0.1:{self.port}")
        self._to = (host, int(port))
        self._open = ExitStack()

    def open(self) -> None:
        listening = self._open.enter_context(closing(socket.create_server(("127.0.0.1", self.port))))
        threading.Thread(target=self._serve, args=(listening,), daemon=True).start()

    def close(self) -> None:
        self._open.close()

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                here, _ = listening.accept()
            except OSError:
                return
            there = socket.create_connection(self._to)
            threading.Thread(target=_join, args=(here, there), daemon=True).start()


def _join(here: socket.socket, there: socket.socket) -> None:
    with here, there:
        back = threading.Thread(target=_pump, args=(there, here), daemon=True)
        back.start()
        _pump(here, there)
        back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for side in (source, target):
        with suppress(OSError):  # the other way was quicker
            side.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    begun: list[Process] = []

    def start(module: str, *arguments: str, **variables: str) -> Process:
        begun.append(Process(tmp_path, module, *arguments, **variables))
        return begun[-1]

    yield start
    for one in begun:
        one.process.kill()
        one.process.wait()


@pytest.fixture
def empty_database_url(server_addresses: Addresses) -> Iterator[str]:
    yield from copied(server_addresses, "template0")


@pytest.fixture
def relay(fresh_database_url: str) -> Iterator[Relay]:
    made = Relay(fresh_database_url)
    yield made
    made.close()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_wrong_environment_is_one_line_that_names_the_variable(start: Start, program: str) -> None:
    process = start(*PROGRAMS[program], KROMA_DATABASE_URL_FILE="/nowhere/at/all")

    assert process.ended() == 2
    line = process.output.partition(": ")[2]
    assert line == ("KROMA_DATABASE_URL_FILE names a file that cannot be read: No such file or directory\n")


@pytest.mark.parametrize("module", ["kroma_api", "kroma_worker"])
@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [
        ("KROMA_URL_ALLOW", "127.0.0.1:9000", "entry 1 is not a host or range"),
        ("KROMA_PROVIDER", "painter", "must be one of: local, openai, fake"),
        ("KROMA_REDIS_URL", "http://x", "must be a URL such as redis://"),
        ("KROMA_DATABASE_URL", "mysql://x", "must start with postgresql://"),
    ],
)
def test_a_value_that_cannot_be_meant_is_one_line_that_says_what_can(
    start: Start, module: str, variable: str, value: str, wanted: str
) -> None:
    given = {"KROMA_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/kroma", "KROMA_QUEUE": "arq"}
    process = start(
        module,
        **{"KROMA_REDIS_URL": "redis://127.0.0.1:1", **given, variable: value},
        KROMA_BACKEND_BIND=f"127.0.0.1:{free_port()}",
    )

    assert process.ended() == 2
    assert process.output.startswith(f"{module}: {variable} {wanted}")
    assert process.output.count("\n") == 1


@pytest.fixture
def stranger_url(fresh_database_url: str) -> Iterator[str]:
    """The address with a user who may connect and read nothing."""
    name = f"stranger_{free_port()}"
    asyncio.run(_said(fresh_database_url, f"CREATE ROLE {name} LOGIN PASSWORD 'secret-word'"))
    yield f"postgresql://{name}:secret-word@{fresh_database_url.rpartition('@')[2]}"
    asyncio.run(_said(fresh_database_url, f"DROP ROLE {name}"))


async def _said(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


@pytest.mark.parametrize("program", COMMANDS)
@pytest.mark.parametrize(
    ("has_rights", "reason"),
    [
        pytest.param(True, 'unrecognized configuration parameter "foo"', id="unknown parameter"),
        pytest.param(False, "permission denied for table alembic_version", id="user who may read nothing"),
    ],
)
def test_a_database_that_refuses_to_be_used_is_one_line(
    start: Start, fresh_database_url: str, stranger_url: str, program: str, reason: str, *, has_rights: bool
) -> None:
    url = f"{fresh_database_url}?foo=bar" if has_rights else stranger_url
    bind = f"127.0.0.1:{free_port()}"
    process = start(*COMMANDS[program], KROMA_DATABASE_URL=url, KROMA_BACKEND_BIND=bind)

    assert process.ended() == 2
    said = process.output.splitlines()[-1].partition(": ")[2]
    assert said == f"KROMA_DATABASE_URL names a database that rejects connections: {reason}"
    assert "Traceback" not in process.output
    assert "secret-word" not in process.output


@pytest.mark.parametrize("query", ["foo=bar", "sslmode=perhaps"])
def test_the_doctor_says_what_a_database_has_against_its_address(
    start: Start, fresh_database_url: str, query: str
) -> None:
    doctor = start("kroma.cli", "doctor", "--json", KROMA_DATABASE_URL=f"{fresh_database_url}?{query}")

    assert doctor.ended() == 1
    found = {check["part"]: check["found"] for check in json.loads(doctor.output)["checks"]}
    assert found["database"].startswith("KROMA_DATABASE_URL ")
    assert found["worker"] == "no worker was seen in the last 30 s"


@pytest.mark.parametrize("program", MIGRATORS)
@pytest.mark.parametrize("wait", ["1e300", "nan", "-5", "inf", "soon"])
def test_a_wait_that_cannot_be_meant_is_one_line(start: Start, program: str, wait: str) -> None:
    url = f"postgresql://kroma@127.0.0.1:{free_port()}/kroma"
    migrator = start(*MIGRATORS[program], "--wait", wait, KROMA_DATABASE_URL=url)

    assert migrator.ended() == 2
    assert (
        migrator.output.partition(": ")[2]
        == "--wait must be a number of seconds from 0 to 2592000, such as 60\n"
    )


def test_a_worker_without_its_face_model_does_not_start(start: Start) -> None:
    variables = {"KROMA_FACE_MODEL": "/nowhere/faces.onnx", "KROMA_FACE_MODEL_SHA256": "a" * 64}
    worker = start("kroma_worker", KROMA_DATABASE_URL="postgresql://kroma@127.0.0.1:1/kroma", **variables)

    assert worker.ended() == 2
    assert worker.output == (
        "kroma_worker: KROMA_FACE_MODEL names '/nowhere/faces.onnx', which is not a file on this machine\n"
    )


@pytest.mark.parametrize("module", ["kroma_api", "kroma_worker"])
def test_a_database_without_a_schema_is_one_line_that_says_what_to_do(
    start: Start, module: str, empty_database_url: str
) -> None:
    process = start(module, KROMA_DATABASE_URL=empty_database_url)

    assert process.ended() == 3
    assert [*process.events] == ["metrics.serving"]
    assert process.output.splitlines()[-1] == (
        f"{module}: The database has no schema yet, this version needs {needed_revision()}: "
        "run migrate (kroma migrate, or python -m kroma.migrations.run upgrade)"
    )


def test_a_command_on_a_database_without_a_schema_says_what_to_do(
    start: Start, empty_database_url: str
) -> None:
    command = start("kroma.cli", "token", "list", KROMA_DATABASE_URL=empty_database_url)

    assert command.ended() == 1
    assert command.output.startswith("kroma: The database has no schema yet, this version needs ")
    assert command.output.count("\n") == 1


def test_services_wait_for_a_database_that_is_not_there_yet(start: Start, relay: Relay) -> None:
    bind = f"127.0.0.1:{free_port()}"
    api = start("kroma_api", KROMA_DATABASE_URL=relay.url, KROMA_BACKEND_BIND=bind)
    worker = start("kroma_worker", KROMA_DATABASE_URL=relay.url)
    for process in (api, worker):
        waiting = process.said("database.waiting")
        # The name of a test's database looks like a token.
        assert waiting["address"] == masked(relay.url.rpartition("@")[2])
        assert waiting["reason"] == "ConnectionRefusedError"
    api.said("serving")
    ports = {one: f"http://{one.said('metrics.serving')['address']}" for one in (api, worker)}

    for address in (f"http://{bind}", *ports.values()):
        assert httpx.get(f"{address}/health/live", timeout=30).status_code == 200
        ready = httpx.get(f"{address}/health/ready", timeout=30)
        assert (ready.status_code, ready.json()["ok"]) == (503, False)
    relay.open()
    for address in (f"http://{bind}", *ports.values()):
        eventually(lambda: httpx.get(f"{address}/health/ready", timeout=30).status_code == 200)  # noqa: B023

    for process in (api, worker):
        process.said("database.answers")
        shown = httpx.get(f"{ports[process]}/metrics", timeout=30).text
        service = process.module.removeprefix("kroma_")
        assert f'kroma_build_info{{service="{service}",' in shown
        assert process.stopped() == 0
    password = relay.url.rpartition("@")[0].rpartition(":")[2]
    assert password not in api.output + worker.output


def test_a_worker_that_waits_can_be_stopped(start: Start, relay: Relay) -> None:
    worker = start("kroma_worker", KROMA_DATABASE_URL=relay.url)
    worker.said("database.waiting")

    assert worker.stopped() == 0


def test_of_two_migrators_one_waits_for_the_other(start: Start, empty_database_url: str) -> None:
    waiting, migrated = asyncio.run(_migrated_by_two(start, empty_database_url))

    assert waiting == 2
    assert [process.ended() for process in migrated] == [0, 0]
    assert "migration.waiting" in migrated[1].events
    assert migrated[0].output.splitlines()[-1].startswith(f"The schema is at {needed_revision()}")
    again = start(*MIGRATORS["kroma migrate"], KROMA_DATABASE_URL=empty_database_url)
    assert again.ended() == 0
    assert again.output == f"The schema is at {needed_revision()} already.\n"


async def _migrated_by_two(start: Start, url: str) -> tuple[int, list[Process]]:
    """Two migrators, held up until both wait, though the database's own limits are short."""
    connection = await asyncpg.connect(url)
    try:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f'ALTER DATABASE "{name}" SET lock_timeout = 1')
        await connection.execute(f'ALTER DATABASE "{name}" SET statement_timeout = 2000')
        await connection.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
        migrators = [start(*arguments, KROMA_DATABASE_URL=url) for arguments in MIGRATORS.values()]
        counted = """
            SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
            WHERE locktype = 'advisory' AND NOT granted AND datname = $1
        """
        waiting = 0
        while waiting < 2 and all(one.process.poll() is None for one in migrators):
            await asyncio.sleep(0.05)
            waiting = await connection.fetchval(counted, name)
        await connection.execute("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK)
        return waiting, migrators
    finally:
        await connection.close()


def test_a_migration_waits_for_its_database(start: Start, empty_database_url: str) -> None:
    relay = Relay(empty_database_url)
    migrator = start(*MIGRATORS["migrations.run"], KROMA_DATABASE_URL=relay.url)
    migrator.said("database.waiting")
    relay.open()

    assert migrator.ended() == 0
    relay.close()


@pytest.mark.parametrize("program", MIGRATORS)
def test_a_migration_does_not_wait_for_ever(start: Start, program: str) -> None:
    url = f"postgresql://kroma:secret-word@127.0.0.1:{free_port()}/kroma"
    migrator = start(*MIGRATORS[program], "--wait", "0", KROMA_DATABASE_URL=url)

    assert migrator.ended() == 1
    line = migrator.output.splitlines()[-1]
    assert line.endswith("did not answer within 0 s (ConnectionRefusedError)")
    assert "secret-word" not in migrator.output
