"""An agent, and a project whose instructions go to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kroma.db.engine import Database
from support.builders.factories import make_project
from support.doubles.agent_server import AgentServer, served
from support.harness.agent_harness import AgentHarness


@pytest.fixture
async def agent() -> AsyncIterator[AgentServer]:
    async with served() as server:
        yield server


@pytest.fixture
async def harness(fresh_db: Database, agent: AgentServer, data_dir: Path) -> AsyncIterator[AgentHarness]:
    async with fresh_db.transaction() as session:
        project = await make_project(session, slug="comic")
    opened = AgentHarness(fresh_db, project, agent, data_dir)
    yield opened
    await opened.close()
