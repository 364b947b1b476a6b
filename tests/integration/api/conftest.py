"""The application in the test's own loop and transaction; every reply is checked against the document."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.providers import open_providers
from kroma.providers.base import Provider
from kroma.queue.base import TaskQueue
from kroma.resources import Resources
from kroma.secrets.keyring import Keyring
from kroma.storage.base import ProjectStores
from kroma.storage.directory import DirectoryStores
from kroma_api.app import create_app
from support.builders.factories import insert_posted_project, scene_png
from support.builders.populated_project import Filled, fill_project
from support.doubles.memory_queue import MemoryTaskQueue
from support.harness.documented_api import CheckedTransport, ClientFactory, Documentation
from support.servers.databases import copied, pooled
from support.servers.postgres_and_valkey import Addresses

BYPASS = {"KROMA_API_AUTH_DEV_BYPASS": "1"}


@pytest.fixture(scope="session")
def documentation() -> Documentation:
    return Documentation()


def checked_client(resources: Resources, documentation: Documentation) -> httpx.AsyncClient:
    """A client of an application on these resources."""
    inner = httpx.ASGITransport(create_app(resources), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=CheckedTransport(inner, documentation), base_url="http://127.0.0.1")


@pytest.fixture(scope="session")
def filled_database_url(server_addresses: Addresses) -> Iterator[str]:
    """For ``filled``."""
    yield from copied(server_addresses)


@pytest.fixture(scope="session")
async def filled(
    filled_database_url: str, documentation: Documentation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Filled]:
    """For tests over all routes; each works in a transaction that is rolled back."""
    database = Database.connect(filled_database_url)
    settings = Settings.from_environment(BYPASS, data_dir=tmp_path_factory.mktemp("filled"))
    cpu = CpuPool(1)
    resources = Resources(
        settings=settings,
        db=database,
        queue=MemoryTaskQueue(),
        stores=DirectoryStores(settings.data_dir, allow_any_root=False),
        keyring=Keyring(settings.master_key),
        cpu=cpu,
        providers=open_providers(cpu, settings),
    )
    async with checked_client(resources, documentation) as client:
        known = await fill_project(client, database)
        await fill_project(client, database, "Other")
    await database.close()
    async with pooled(filled_database_url) as engine:
        yield Filled(engine, known)


@pytest.fixture(scope="session")
def cpu() -> Iterator[CpuPool]:
    """One picture process for all tests: starting one takes longer than what most of them do."""
    pool = CpuPool(1)
    yield pool
    asyncio.run(pool.close())


@pytest.fixture
def queue() -> MemoryTaskQueue:
    return MemoryTaskQueue()


@pytest.fixture
async def client_with(
    db: Database, queue: MemoryTaskQueue, data_dir: Path, documentation: Documentation, cpu: CpuPool
) -> AsyncIterator[ClientFactory]:
    """Makes clients of an application with the given environment.

    It is on ``db`` and has the real providers, unless others are given.
    """
    async with AsyncExitStack() as stack:

        def make(
            database: Database = db,
            *,
            providers: Mapping[str, Provider] | None = None,
            queue: TaskQueue = queue,
            cpu: CpuPool = cpu,
            stores: ProjectStores | None = None,
            **variables: str,
        ) -> httpx.AsyncClient:
            settings = Settings.from_environment(variables, data_dir=data_dir)
            stores = stores or DirectoryStores(data_dir, allow_any_root=settings.allow_any_root)
            resources = Resources(
                settings=settings,
                db=database,
                queue=queue,
                stores=stores,
                keyring=Keyring(settings.master_key),
                cpu=cpu,
                providers=open_providers(cpu, settings) if providers is None else providers,
            )
            client = checked_client(resources, documentation)
            stack.push_async_callback(client.aclose)
            return client

        yield make


@pytest.fixture
def client(client_with: ClientFactory) -> httpx.AsyncClient:
    """Without authentication, as most tests of the contract run."""
    return client_with(**BYPASS)


@pytest.fixture
def auth_client(client_with: ClientFactory) -> httpx.AsyncClient:
    """With authentication, and the first token still to be made."""
    return client_with()


@pytest.fixture
async def slug(db: Database) -> str:
    """A project as clients make one; test_projects.py holds the two together."""
    async with db.transaction() as session:
        return await insert_posted_project(session)


@pytest.fixture
def location(data_dir: Path) -> Path:
    """The empty root of the project ``slug``."""
    folder = data_dir / "var" / "projects" / "comic"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def root(data_dir: Path) -> Path:
    """The root of the project ``slug``, with two scenes."""
    folder = data_dir / "var" / "projects" / "comic"
    scenes = folder / "scenes"
    scenes.mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png")):
        (scenes / name).write_bytes(scene_png(seed=number))
    return folder
