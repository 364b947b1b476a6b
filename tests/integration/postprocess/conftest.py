import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from kroma.cpu import CpuPool
from support.doubles.cutout_double import CutoutDouble, served

MEMORY_LIMIT_BYTES = 3 * 1024**3


@pytest.fixture(scope="session")
def cpu() -> Iterator[CpuPool]:
    pool = CpuPool(1, memory_limit_bytes=MEMORY_LIMIT_BYTES)
    yield pool
    asyncio.run(pool.close())


@pytest.fixture
async def double() -> AsyncIterator[CutoutDouble]:
    async with served() as server:
        yield server
