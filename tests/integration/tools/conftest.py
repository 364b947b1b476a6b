"""A workshop on one picture process for all tests of an xdist worker."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.postprocess.toolbox import Toolbox
from kroma.tools.runner import ToolRunner


@pytest.fixture(scope="session")
def cpu() -> Iterator[CpuPool]:
    pool = CpuPool(1)
    yield pool
    asyncio.run(pool.close())


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    return Settings.from_environment({}, data_dir=data_dir)


@pytest.fixture
def tool_runner(cpu: CpuPool, settings: Settings) -> ToolRunner:
    """Without a ledger."""
    return ToolRunner(settings=settings, cpu=cpu, toolbox=Toolbox(cpu, settings.tools))
