"""What the tables say of an installation, for Prometheus: what waits, since when, and what nobody knows."""

import asyncio
from collections.abc import Iterator
from time import monotonic
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import text

from kroma.db.connection_errors import DATABASE_TROUBLE
from kroma.db.engine import Database
from kroma.db.prepared import Prepared

STANDS_FOR_S: Final = 5.0
_WITHIN_S: Final = 1.5
_DUE: Final = """
    SELECT coalesce(job.lease_expires_at, job.available_at, job.created_at) AS since
    FROM run_jobs job JOIN runs run ON run.id = job.run_id
    WHERE run.status IN ('queued', 'running')
      AND (job.status = 'queued' AND coalesce(job.available_at <= clock_timestamp(), true)
           OR job.status = 'running' AND job.lease_expires_at < clock_timestamp())
"""
_UNKNOWN: Final = """
    SELECT calls.found FROM projects, LATERAL (
        SELECT count(*) AS found FROM provider_calls
        WHERE project_id = projects.id AND status = 'unknown') AS calls
    UNION ALL
    SELECT count(*) FROM provider_calls WHERE project_id IS NULL AND status = 'unknown'
"""
GAUGES: Final = (
    ("kroma_queue_depth", "Jobs that a worker could take now, and none has."),
    ("kroma_queue_oldest_seconds", "How long the oldest of them has waited; 0 without one."),
    ("kroma_jobs_queued", "Jobs that wait, those that are due later too."),
    ("kroma_jobs_running", "Jobs that workers hold, lost workers included."),
    ("kroma_runs_open", "Runs that have not ended."),
    ("kroma_provider_calls_unknown", "Paid calls whose answer was lost and that wait for a person."),
    ("kroma_syncs_open", "Copies of projects that wait or are under way."),
    ("kroma_sync_lag_seconds", "How long the oldest of them has been asked for; 0 without one."),
    ("kroma_workers_living", "Workers that were seen in the last 30 s."),
)
_STATE: Final = Prepared(
    text(f"""
        WITH due AS ({_DUE}), open_syncs AS (
            SELECT created_at FROM sync_jobs WHERE status IN ('queued', 'running'))
        SELECT (SELECT count(*) FROM due),
            (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(since)), 0)::float8 FROM due),
            (SELECT count(*) FROM run_jobs WHERE status = 'queued'),
            (SELECT count(*) FROM run_jobs WHERE status = 'running'),
            (SELECT count(*) FROM runs WHERE status IN ('queued', 'running', 'canceling')),
            (SELECT coalesce(sum(found), 0)::bigint FROM ({_UNKNOWN}) AS unknown),
            (SELECT count(*) FROM open_syncs),
            (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8
             FROM open_syncs),
            (SELECT count(*) FROM workers WHERE seen_at > clock_timestamp() - interval '30 s')
    """)  # noqa: S608 - both parts are constants
)


class InstallationState(Collector):
    """Gauges out of the tables; a database that does not answer leaves them out rather than old."""

    def __init__(self, db: Database, *, stands_for_s: float = STANDS_FOR_S) -> None:
        self._db = db
        self._stands_for_s = stands_for_s
        self._read_at: float | None = None
        self._values: tuple[Any, ...] | None = None
        self._reading = asyncio.Lock()

    async def refresh(self) -> None:
        """Read the tables, unless that was done a moment ago; of two who ask at once one waits."""
        async with self._reading:
            if self._read_at is not None and monotonic() - self._read_at < self._stands_for_s:
                return
            self._read_at = monotonic()
            # Before they are read: however that ends, nobody is shown old ones as new.
            self._values = None
            try:
                async with asyncio.timeout(_WITHIN_S):
                    (row,) = await self._db.fetch(_STATE, {})
                self._values = tuple(row)
            except DATABASE_TROUBLE:
                return

    def collect(self) -> Iterator[Metric]:
        """The gauges as they were last read."""
        values = self._values
        answers = 0 if values is None else 1
        yield GaugeMetricFamily("kroma_database_up", "Whether the tables could be read.", answers)
        for (name, meaning), value in zip(GAUGES, values or (), strict=False):
            yield GaugeMetricFamily(name, meaning, float(value))
