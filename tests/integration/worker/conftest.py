"""A studio on a database of its own, with one picture process for all tests of an xdist worker."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.storage.directory import DirectoryStores
from support.builders.factories import make_project, scene_png
from support.harness.worker_harness import SCENES, Studio


@pytest.fixture(scope="session")
def cpu() -> Iterator[CpuPool]:
    pool = CpuPool(1)
    yield pool
    asyncio.run(pool.close())


@pytest.fixture
async def studio(fresh_db: Database, cpu: CpuPool, data_dir: Path) -> AsyncIterator[Studio]:
    settings = Settings.from_environment({"KROMA_PROVIDER": "fake"}, data_dir=data_dir)
    root = data_dir / "comic"
    root.mkdir()
    for seed, name in enumerate(SCENES):
        (root / name).write_bytes(scene_png(seed=seed))
    async with fresh_db.transaction() as session:
        project = await make_project(session, slug="comic", root=root)
    stores = DirectoryStores(data_dir, allow_any_root=True)
    opened = Studio(fresh_db, cpu, settings, project, stores)
    yield opened
    await opened.renewer.close()
