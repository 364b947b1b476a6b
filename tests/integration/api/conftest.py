"""The application in the test's own loop and transaction; every reply is checked against the document."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from documented import CheckedTransport, ClientFactory, Documentation
from factories import scene_png
from kroma.config import Settings
from kroma.db.engine import Database
from kroma.queue.memory import MemoryTaskQueue
from kroma.secrets.keyring import Keyring
from kroma.storage.directory import DirectoryStores
from kroma_api.app import create_app

BYPASS = {"KROMA_API_AUTH_DEV_BYPASS": "1"}


@pytest.fixture(scope="session")
def documentation() -> Documentation:
    return Documentation()


@pytest.fixture
def queue() -> MemoryTaskQueue:
    return MemoryTaskQueue()


@pytest.fixture
async def client_with(
    db: Database, queue: MemoryTaskQueue, data_dir: Path, documentation: Documentation
) -> AsyncIterator[ClientFactory]:
    """Makes clients of an application with the given environment, on ``db`` unless another is given."""
    async with AsyncExitStack() as stack:

        def make(database: Database = db, **variables: str) -> httpx.AsyncClient:
            settings = Settings.from_environment(variables, data_dir=data_dir)
            stores = DirectoryStores(data_dir, allow_any_root=settings.allow_any_root)
            app = create_app(settings, database, queue, stores, Keyring(settings.master_key))
            inner = httpx.ASGITransport(app, raise_app_exceptions=False)
            client = httpx.AsyncClient(
                transport=CheckedTransport(inner, documentation), base_url="http://kroma.test"
            )
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
async def slug(client: httpx.AsyncClient) -> str:
    """A project, made as clients make one."""
    response = await client.post("/api/projects", json={"name": "Comic"})
    return response.json()["project"]["slug"]


@pytest.fixture
def root(data_dir: Path) -> Path:
    """The root of the project ``slug``, with two scenes."""
    folder = data_dir / "var" / "projects" / "comic"
    scenes = folder / "scenes"
    scenes.mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png")):
        (scenes / name).write_bytes(scene_png(seed=number))
    return folder
