"""Waiting for the end of a run."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from kroma.db.engine import Database
from kroma.pipeline.control.wait import wait_for_end
from kroma.runs.models import Run, RunStatus
from support.builders.factories import make_project

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def run_id(fresh_db: Database) -> UUID:
    async with fresh_db.transaction() as session:
        project = await make_project(session)
        run = Run(id=uuid4(), project_id=project.id, run_mode="dry", status=RunStatus.RUNNING)
        session.add(run)
    return run.id


async def set_status(db: Database, run_id: UUID, status: RunStatus) -> None:
    async with db.transaction() as session:
        await session.execute(update(Run).where(Run.id == run_id).values(status=status))


async def test_an_open_run_is_given_up_when_the_time_is_up(fresh_db: Database, run_id: UUID) -> None:
    assert await wait_for_end(fresh_db, run_id, timeout=timedelta(milliseconds=60)) is False


@pytest.mark.parametrize("status", ["ok", "partial", "failed", "canceled", "unknown"])
async def test_a_run_that_ended_is_not_waited_for(fresh_db: Database, run_id: UUID, status: str) -> None:
    await set_status(fresh_db, run_id, RunStatus(status))

    assert await wait_for_end(fresh_db, run_id, timeout=timedelta()) is True


async def test_the_end_is_noticed_while_waiting(fresh_db: Database, run_id: UUID) -> None:
    waiting = asyncio.create_task(wait_for_end(fresh_db, run_id, timeout=timedelta(seconds=50)))

    await set_status(fresh_db, run_id, RunStatus.CANCELING)
    await set_status(fresh_db, run_id, RunStatus.CANCELED)

    assert await waiting is True


async def test_a_run_that_is_gone_has_ended(fresh_db: Database) -> None:
    assert await wait_for_end(fresh_db, uuid4(), timeout=timedelta(seconds=50)) is True
