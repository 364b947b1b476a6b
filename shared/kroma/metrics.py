"""What the services count and time, for Prometheus (docs/operations.md lists all of it).

Labels take values from short lists that Kroma knows, never ids, names that people chose, or texts. Each
process counts what it did itself, from its start.
"""

from time import perf_counter
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

REGISTRY: Final = CollectorRegistry()
"""Ours alone: what libraries register with their own is not shown."""
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

BUILD: Final = Gauge("kroma_build_info", "Always 1.", ["service", "version"], registry=REGISTRY)

REQUESTS: Final = Counter(
    "kroma_http_requests",
    "Requests that were answered, by the template of their route.",
    ["method", "route", "status"],
    registry=REGISTRY,
)
REQUEST_SECONDS: Final = Histogram(
    "kroma_http_request_duration_seconds",
    "From the first byte of a request to the last of its answer.",
    ["method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
    registry=REGISTRY,
)
STEP_SECONDS: Final = Histogram(
    "kroma_step_duration_seconds",
    "Steps of jobs that this worker carried.",
    ["step", "outcome"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600),
    registry=REGISTRY,
)
JOBS_ENDED: Final = Counter(
    "kroma_jobs_ended", "Jobs that this worker brought to an end.", ["status"], registry=REGISTRY
)
RUNS_ENDED: Final = Counter(
    "kroma_runs_ended", "Runs that this worker finished.", ["status"], registry=REGISTRY
)
LEASES_EXPIRED: Final = Counter(
    "kroma_leases_expired",
    "Jobs of lost workers that this one took over, or ended because their attempts were spent.",
    ["outcome"],
    registry=REGISTRY,
)
for _outcome in ("taken_over", "ended"):
    LEASES_EXPIRED.labels(_outcome)  # from 0: an increase is seen only of what was there before
PROVIDER_CALLS: Final = Counter(
    "kroma_provider_calls",
    "Calls to providers, free ones too, by how they ended.",
    ["provider", "model", "outcome"],
    registry=REGISTRY,
)
PROVIDER_SECONDS: Final = Histogram(
    "kroma_provider_call_duration_seconds",
    "Calls to providers, without waiting for their turn.",
    ["provider", "model"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 180),
    registry=REGISTRY,
)
PROVIDER_COST: Final = Counter(
    "kroma_provider_cost_usd", "What settled calls cost.", ["provider", "model"], registry=REGISTRY
)
PICTURE_PROCESSES_LOST: Final = Counter(
    "kroma_picture_processes_lost",
    "Picture processes that died under their work; others took their place.",
    registry=REGISTRY,
)
STORE_ERRORS: Final = Counter(
    "kroma_store_errors",
    "What the store refused or failed at, by the code of the error.",
    ["code"],
    registry=REGISTRY,
)
LOOP_LAG: Final = Histogram(
    "kroma_event_loop_lag_seconds",
    "How much later than asked for the event loop woke a sleeper, twice a second.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
    registry=REGISTRY,
)
SLOTS: Final = Gauge("kroma_worker_slots", "Job slots of this worker.", ["state"], registry=REGISTRY)


class CallWatch:
    """Counts and times one call to a provider, from its making."""

    def __init__(self, provider: str, model: str | None) -> None:
        self._labels = (provider, model or "")
        self._began = perf_counter()

    def ended(self, outcome: str) -> None:
        """How it ended: ``answered``, ``refused``, ``unusable`` or ``unknown``."""
        PROVIDER_CALLS.labels(*self._labels, outcome).inc()
        PROVIDER_SECONDS.labels(*self._labels).observe(perf_counter() - self._began)
