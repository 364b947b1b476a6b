from collections.abc import AsyncIterator

import pytest

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.providers.openai import OpenAIProvider
from openai_double import OpenAIDouble, served

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


@pytest.fixture
async def provider(settings: Settings) -> AsyncIterator[OpenAIProvider]:
    cpu = CpuPool(1)
    opened = OpenAIProvider.opened(cpu, settings)
    yield opened
    await opened.close()
    await cpu.close()
