"""What is counted of requests, and what the tables say of an installation."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.health.state import InstallationState
from kroma.metrics import REGISTRY
from kroma.storage.errors import StoreError
from support.servers.api_process import free_port

pytestmark = pytest.mark.timeout(60)


def value(name: str, registry: CollectorRegistry = REGISTRY, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


@pytest.fixture
async def silent_database() -> AsyncIterator[Database]:
    database = Database.connect(f"postgresql://kroma@127.0.0.1:{free_port()}/gone")
    yield database
    await database.close()


def registry_of(state: InstallationState) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(state)
    return registry


async def test_an_empty_installation_has_nothing_waiting(db: Database) -> None:
    state = InstallationState(db)
    registry = registry_of(state)
    await state.refresh()

    assert value("kroma_database_up", registry) == 1
    names = ("queue_depth", "queue_oldest_seconds", "jobs_queued", "jobs_running", "runs_open")
    more = ("provider_calls_unknown", "syncs_open", "sync_lag_seconds", "workers_living")
    assert [value(f"kroma_{name}", registry) for name in (*names, *more)] == [0] * 9


@pytest.mark.usefixtures("silent_database")
async def test_a_database_that_is_away_leaves_the_gauges_out(silent_database: Database) -> None:
    state = InstallationState(silent_database)
    registry = registry_of(state)
    await state.refresh()

    assert value("kroma_database_up", registry) == 0
    assert value("kroma_queue_depth", registry) is None


class Freezing:
    """A database that answers until it is frozen."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.is_frozen = False

    async def fetch(self, statement: Prepared, values: Mapping[str, object]) -> list[Any]:
        if self.is_frozen:
            await asyncio.Event().wait()
        return await self._db.fetch(statement, values)


async def test_what_was_read_before_a_database_froze_is_not_shown_again(db: Database) -> None:
    freezing = Freezing(db)
    state = InstallationState(cast("Database", freezing), stands_for_s=0.0)
    registry = registry_of(state)
    await state.refresh()
    assert value("kroma_database_up", registry) == 1

    freezing.is_frozen = True
    asking = asyncio.create_task(state.refresh())
    await asyncio.sleep(0.01)
    asking.cancel()  # as the metrics' server does with an answer that comes too late
    await asyncio.wait({asking})

    assert value("kroma_database_up", registry) == 0
    assert value("kroma_queue_depth", registry) is None


async def test_two_who_ask_at_once_are_shown_the_same(db: Database) -> None:
    state = InstallationState(db)
    registry = registry_of(state)
    first = asyncio.create_task(state.refresh())
    await asyncio.sleep(0)
    await state.refresh()

    assert value("kroma_database_up", registry) == 1
    await first


def test_what_alerts_look_for_an_increase_of_is_there_from_the_start() -> None:
    for outcome in ("taken_over", "ended"):
        assert value("kroma_leases_expired_total", outcome=outcome) is not None
    codes = {kind.code for kind in StoreError.__subclasses__()}
    assert "store_full" in codes
    for code in codes:
        assert value("kroma_store_errors_total", code=code) is not None
