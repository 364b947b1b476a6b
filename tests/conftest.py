"""Fixtures that several folders of tests share."""

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
import pytest_socket
import redis
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from xdist.workermanage import WorkerController

from kroma.config import S3Access
from kroma.db.engine import Database
from kroma.logs import configure_logs
from support.servers.databases import EmptyDatabases, copied, pooled, rolled_back
from support.servers.postgres_and_valkey import Addresses, Servers
from support.servers.s3_server import access_to, new_bucket, running_s3

_SERVERS = pytest.StashKey[Servers]()
_TESTS = Path(__file__).parent
_WITHOUT_SERVERS = ("tests/unit/", "tests/architecture/")
_REDIS_DATABASES = 16


def pytest_configure(config: pytest.Config) -> None:
    configure_logs()
    # Each test has a standard output of its own, which a kept logger would outlive.
    structlog.configure(cache_logger_on_first_use=False)
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
def _log_settings_are_kept() -> Iterator[None]:
    before = structlog.get_config()
    yield
    if structlog.get_config() != before:
        configure_logs()  # for the lines of libraries
        structlog.configure(**before)


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


@pytest.fixture(scope="session")
def database_url(server_addresses: Addresses) -> Iterator[str]:
    """A migrated database for all tests of this xdist worker; they leave no row (see ``db``)."""
    yield from copied(server_addresses)


@pytest.fixture(scope="session")
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """For ``db``."""
    async with pooled(database_url) as engine:
        yield engine


@pytest.fixture
async def db(engine: AsyncEngine) -> AsyncIterator[Database]:
    """A database inside one transaction that is rolled back after the test."""
    async with rolled_back(engine) as database:
        yield database


@pytest.fixture(scope="session")
def empty_databases(server_addresses: Addresses) -> Iterator[EmptyDatabases]:
    """For ``fresh_database_url``."""
    databases = EmptyDatabases(server_addresses)
    yield databases
    databases.close()


@pytest.fixture
def fresh_database_url(empty_databases: EmptyDatabases) -> Iterator[str]:
    """A migrated, empty database for one test, for what needs several connections."""
    yield from empty_databases.lent()


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


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint of moto's S3 server, in a process of its own."""
    with running_s3() as endpoint:
        yield endpoint


@pytest.fixture
def s3_bucket(s3_server: str) -> str:
    """The name of a fresh bucket on it."""
    return new_bucket(s3_server)


@pytest.fixture
def s3_access(s3_server: str) -> S3Access:
    """Who may do everything there."""
    return access_to(s3_server)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory of the test's own."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder
