import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.providers.openai import OpenAIProvider
from support.doubles.openai_double import OpenAIDouble, served

LIMIT_S = 5


@pytest.fixture
async def double() -> AsyncIterator[OpenAIDouble]:
    async with served() as server:
        yield server


@pytest.fixture
def settings() -> Settings:
    return Settings.from_environment(
        {
            "KROMA_URL_ALLOW": "127.0.0.0/8",
            "KROMA_OPENAI_TIMEOUT_S": str(LIMIT_S),
            "OPENAI_ORG_ID": "org-of-the-environment",
        }
    )


@pytest.fixture(scope="session")
def cpu() -> Iterator[CpuPool]:
    pool = CpuPool(1)
    yield pool
    asyncio.run(pool.close())


@pytest.fixture
async def provider(settings: Settings, cpu: CpuPool) -> AsyncIterator[OpenAIProvider]:
    opened = OpenAIProvider.opened(cpu, settings)
    yield opened
    await opened.close()
