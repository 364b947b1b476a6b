"""What is counted of requests, and what the tables say of an installation."""

from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from kroma.db.engine import Database
from kroma.health.state import InstallationState
from kroma.metrics import REGISTRY
from served import free_port

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
