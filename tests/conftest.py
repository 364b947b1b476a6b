"""Fixtures that several folders of tests share."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_socket
import redis
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from xdist.workermanage import WorkerController

from kroma.db.engine import Database, async_url, json_options
from servers import TEMPLATE, Addresses, Servers

_SERVERS = pytest.StashKey[Servers]()
_TESTS = Path(__file__).parent
_WITHOUT_SERVERS = ("tests/unit/", "tests/architecture/")
_REDIS_DATABASES = 16


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.stash[_SERVERS] = Servers()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    node.workerinput["servers_folder"] = str(node.config.stash[_SERVERS].folder)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: WorkerController, ids: Sequence[str]) -> None:
    servers: Servers = node.config.stash[_SERVERS]
    if not (servers.folder / "addresses.json").exists() and any(
        not test.startswith(_WITHOUT_SERVERS) for test in ids
    ):
        servers.announce()


def pytest_unconfigure(config: pytest.Config) -> None:
    servers = config.stash.get(_SERVERS, None)
    if servers is not None:
        servers.stop()


@pytest.fixture(autouse=True)
def _no_sockets_in_unit_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    if _TESTS / "unit" not in request.path.parents:
        yield
        return
    pytest_socket.disable_socket(allow_unix_socket=True)  # asyncio's own wake-up is a pair of them
    yield
    pytest_socket.enable_socket()


@pytest.fixture(scope="session")
def server_addresses(request: pytest.FixtureRequest) -> Addresses:
    workerinput = getattr(request.config, "workerinput", None)
    if workerinput is not None:
        return Addresses.awaited(Path(workerinput["servers_folder"]))
    return request.config.stash[_SERVERS].started()


def _in_a_thread(work: Coroutine[Any, Any, None]) -> None:
    # Fixtures of session scope may run while pytest-asyncio holds a loop in this thread.
    errors: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as exc:  # noqa: BLE001 - raised again below, in the caller's thread
            errors.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


async def _statement(url: str, sql: str) -> None:
    connection = await asyncpg.connect(_database(url, "postgres"))
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def _database(url: str, name: str) -> str:
    return f"{url.rpartition('/')[0]}/{name}"


def _copied(url: str, name: str) -> Iterator[str]:
    _in_a_thread(_statement(url, f'CREATE DATABASE "{name}" TEMPLATE "{TEMPLATE}"'))
    yield _database(url, name)
    _in_a_thread(_statement(url, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture(scope="session")
def database_url(server_addresses: Addresses) -> Iterator[str]:
    """A migrated database for all tests of this xdist worker; they leave no row (see ``db``)."""
    yield from _copied(server_addresses.database_url, f"kroma_{uuid4().hex}")


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """A database inside one transaction that is rolled back after the test."""
    engine = create_async_engine(async_url(database_url), poolclass=NullPool, **json_options())
    async with engine.connect() as connection:
        transaction = await connection.begin()
        yield Database.joined(connection)
        await transaction.rollback()
    await engine.dispose()


@pytest.fixture
def fresh_database_url(server_addresses: Addresses) -> Iterator[str]:
    """A migrated, empty database for one test, for what needs several connections."""
    yield from _copied(server_addresses.database_url, f"kroma_{uuid4().hex}")


@pytest.fixture
async def fresh_db(fresh_database_url: str) -> AsyncIterator[Database]:
    """A pool of connections to a database of the test's own."""
    database = Database.connect(fresh_database_url)
    yield database
    await database.close()


@pytest.fixture
def redis_url(server_addresses: Addresses) -> str:
    """An empty Redis database that only this xdist worker uses."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    number = int(worker) % _REDIS_DATABASES
    url = f"{server_addresses.redis_url.rpartition('/')[0]}/{number}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory of the test's own."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder
