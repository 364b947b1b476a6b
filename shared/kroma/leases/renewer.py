"""Leases kept alive by a thread of its own, out of reach of whatever blocks the event loop.

A loop that computes for a minute is a bug, but no reason to give its jobs to another worker beside it:
the thread has a loop and a connection of its own. A process that is stopped or dead renews nothing.
The thread is also the first to learn that a claim was lost, or that its run is no longer wanted, and
cancels the work on the loop that it belongs to.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from enum import StrEnum
from time import monotonic
from typing import Any, Final, cast
from uuid import UUID

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - it ships none
import msgspec
import structlog

from kroma.db.connection_errors import DATABASE_TROUBLE
from kroma.pipeline.execution.claim import LEASE, ClaimLostError, JobClaim, RunClaim
from kroma.sync.claim import SyncClaim

log = structlog.get_logger(__name__)

RENEW_EVERY: Final = timedelta(seconds=10)
LOOK_EVERY: Final = timedelta(seconds=1)
"""A cancelled run is noticed within two of these."""
PRESENT_EVERY: Final = timedelta(seconds=10)
_ANSWER_WITHIN_S: Final = 8.0
"""For a connection or a statement; after it a new connection is tried, while the leases still hold."""
_CLOSE_WITHIN_S: Final = 10.0

# Rows that a write of ours has locked just now are skipped and renewed at the next look; nobody else
# can claim them meanwhile.
_RENEW_JOBS: Final = """
    WITH held AS (SELECT * FROM unnest($1::int[], $2::uuid[], $3::bigint[], $4::text[])
                  AS held(place, id, fence, owner)),
    free AS (SELECT place, job.id FROM run_jobs job JOIN held ON job.id = held.id
             WHERE job.fence = held.fence AND job.lease_owner = held.owner
             FOR NO KEY UPDATE OF job SKIP LOCKED)
    UPDATE run_jobs SET lease_expires_at = clock_timestamp() + $5::interval
    FROM free WHERE run_jobs.id = free.id RETURNING place
"""
_RENEW_RUNS: Final = """
    WITH held AS (SELECT * FROM unnest($1::int[], $2::uuid[], $3::bigint[], $4::text[])
                  AS held(place, id, fence, owner)),
    free AS (SELECT place, run.id FROM runs run JOIN held ON run.id = held.id
             WHERE run.fence = held.fence AND run.lease_owner = held.owner
             FOR NO KEY UPDATE OF run SKIP LOCKED)
    UPDATE runs SET lease_expires_at = clock_timestamp() + $5::interval
    FROM free WHERE runs.id = free.id RETURNING place
"""
_STOPPED_JOBS: Final = """
    SELECT place, CASE
        WHEN job.id IS NULL OR job.fence <> held.fence OR job.lease_owner IS DISTINCT FROM held.owner
            THEN 'lost'
        WHEN run.status NOT IN ('queued', 'running') THEN 'cancelled'
        ELSE 'paused' END AS stop
    FROM unnest($1::int[], $2::uuid[], $3::bigint[], $4::text[]) AS held(place, id, fence, owner)
    LEFT JOIN run_jobs job ON job.id = held.id
    LEFT JOIN runs run ON run.id = job.run_id
    LEFT JOIN projects project ON project.id = run.project_id
    WHERE job.id IS NULL OR job.fence <> held.fence OR job.lease_owner IS DISTINCT FROM held.owner
       OR run.status NOT IN ('queued', 'running') OR project.paused_at IS NOT NULL
"""
_STOPPED_RUNS: Final = """
    SELECT place, 'lost' AS stop
    FROM unnest($1::int[], $2::uuid[], $3::bigint[], $4::text[]) AS held(place, id, fence, owner)
    LEFT JOIN runs run ON run.id = held.id
    WHERE run.id IS NULL OR run.fence <> held.fence OR run.lease_owner IS DISTINCT FROM held.owner
"""
_RENEW_SYNCS: Final = """
    WITH held AS (SELECT * FROM unnest($1::int[], $2::uuid[], $3::bigint[], $4::text[])
                  AS held(place, id, fence, owner)),
    free AS (SELECT place, sync.id FROM sync_jobs sync JOIN held ON sync.id = held.id
             WHERE sync.fence = held.fence AND sync.lease_owner = held.owner
             FOR NO KEY UPDATE OF sync SKIP LOCKED)
    UPDATE sync_jobs SET lease_expires_at = clock_timestamp() + $5::interval
    FROM free WHERE sync_jobs.id = free.id RETURNING place
"""
_STOPPED_SYNCS: Final = """
    SELECT place, CASE
        WHEN sync.id IS NULL OR sync.fence <> held.fence OR sync.lease_owner IS DISTINCT FROM held.owner
            THEN 'lost'
        ELSE 'cancelled' END AS stop
    FROM unnest($1::int[], $2::uuid[], $3::bigint[], $4::text[]) AS held(place, id, fence, owner)
    LEFT JOIN sync_jobs sync ON sync.id = held.id
    WHERE sync.id IS NULL OR sync.fence <> held.fence OR sync.lease_owner IS DISTINCT FROM held.owner
       OR sync.cancel_requested_at IS NOT NULL
"""
_STATEMENTS: Final = (
    (JobClaim, _RENEW_JOBS, _STOPPED_JOBS),
    (RunClaim, _RENEW_RUNS, _STOPPED_RUNS),
    (SyncClaim, _RENEW_SYNCS, _STOPPED_SYNCS),
)
_PRESENT: Final = """
    INSERT INTO workers (name, host, pid, version, started_at, seen_at, jobs)
    VALUES ($1, $2, $3, $4, $5, clock_timestamp(), $6)
    ON CONFLICT (name) DO UPDATE SET seen_at = clock_timestamp(), jobs = excluded.jobs
"""
_LONG_GONE: Final = "DELETE FROM workers WHERE seen_at < clock_timestamp() - interval '1 day'"
_GONE: Final = "DELETE FROM workers WHERE name = $1"


AnyClaim = JobClaim | RunClaim | SyncClaim


class Stop(StrEnum):
    """Why work must not go on."""

    LOST = "lost"
    CANCELLED = "cancelled"
    PAUSED = "paused"


class WorkStoppedError(Exception):
    """What is under way is not wanted now: it is being cancelled, or its project is paused."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop)
        self.stop = stop


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker's row says of it (``kroma.workers.models``)."""

    name: str
    host: str
    pid: int
    version: str
    started_at: Any
    """A ``datetime``."""


class _Held:
    """One claim, and the task that works under it."""

    def __init__(self, claim: AnyClaim, task: "asyncio.Task[Any]", *, renewed_at: float) -> None:
        self.row_id = _row_id(claim)
        self.kind = type(claim)
        self.fence = claim.fence
        self.owner = claim.worker
        self.task = task
        self.loop = task.get_loop()
        self.renewed_at = renewed_at
        self.stop: Stop | None = None
        self.is_over = False

    def stop_soon(self, stop: Stop) -> None:
        """Called in the keeper's thread."""
        with contextlib.suppress(RuntimeError):  # its loop is closed: nothing works there any more
            self.loop.call_soon_threadsafe(self._stop, stop)

    def _stop(self, stop: Stop) -> None:
        # On the work's own loop, so that it cannot end between the question and the cancellation.
        if not self.is_over and self.stop is None:
            self.stop = stop
            self.task.cancel()


class LeaseKeeper:
    """Keeps all claims of one process; its thread starts with the first of them."""

    def __init__(
        self,
        url: str,
        *,
        lease: timedelta = LEASE,
        renew_every: timedelta = RENEW_EVERY,
        look_every: timedelta = LOOK_EVERY,
        presence: Presence | None = None,
    ) -> None:
        """Keep claims on a database.

        Args:
            url: ``postgresql://...``.
            lease: What each renewal gives.
            renew_every: How often, at most, a claim is renewed.
            look_every: How often to look for what was lost, cancelled or paused.
            presence: Shown in ``workers`` while the keeper runs.
        """
        self.lease = lease
        self._url = url.replace("postgresql+asyncpg://", "postgresql://", 1)
        self._renew_every_s = renew_every.total_seconds()
        self._look_every_s = look_every.total_seconds()
        self._presence = presence
        self._shown_at: float | None = None
        self.answered_at: float | None = None
        """When the database last answered, by ``monotonic``."""
        self._has_answered = threading.Event()
        self._lock = threading.Lock()
        self._held: set[_Held] = set()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._wake: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def start(self) -> None:
        """Start the thread; the first claim would, too."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)
                self._thread.start()

    async def shown(self, *, within_s: float) -> None:
        """Wait until others can see the worker, or the time is up."""
        await asyncio.to_thread(self._has_answered.wait, within_s)

    async def close(self) -> None:
        """End the thread and take the worker's row away; claims still held are renewed no more."""
        thread = self._thread
        if thread is None:
            return
        self._closing.set()
        if self._wake is not None:
            loop, wake = self._wake
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(wake.set)
        await asyncio.to_thread(thread.join, _CLOSE_WITHIN_S)

    @asynccontextmanager
    async def kept_alive(self, claim: AnyClaim) -> AsyncGenerator[None]:
        """Renew a claim's lease while the block runs; cancel the block when it must not go on.

        Raises:
            ClaimLostError: A newer claim exists.
            WorkStoppedError: The job's run, or the sync, is being cancelled, or the job's project is paused.
        """
        task = asyncio.current_task()
        if task is None:
            msg = "work under a claim runs in a task"
            raise RuntimeError(msg)
        held = _Held(claim, task, renewed_at=monotonic())
        with self._lock:
            self._held.add(held)
        self.start()
        try:
            yield
        except asyncio.CancelledError:
            # Stopped from elsewhere, too: that wins.
            if held.stop is None or task.uncancel() > 0:
                raise
            if held.stop is Stop.LOST:
                raise ClaimLostError from None
            raise WorkStoppedError(held.stop) from None
        finally:
            held.is_over = True
            with self._lock:
                self._held.discard(held)

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._keep())

    async def _keep(self) -> None:
        wake = asyncio.Event()
        self._wake = asyncio.get_running_loop(), wake
        connection: Any = None
        is_down = False
        while not self._closing.is_set():
            try:
                if connection is None:
                    connection = await self._connected()
                await self._tick(connection)
                self.answered_at = monotonic()
                self._has_answered.set()
                is_down = False
            except DATABASE_TROUBLE as exc:
                # The leases may still hold; if not, the fence protects every write.
                if not is_down:
                    log.warning("lease.not_renewed", error=type(exc).__name__)
                is_down = True
                if connection is not None:
                    connection.terminate()
                connection = None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), self._look_every_s)
        if connection is not None:
            await self._leave(connection)

    async def _connected(self) -> Any:  # noqa: ANN401 - asyncpg ships no types
        connect = cast("Callable[..., Awaitable[Any]]", asyncpg.connect)  # pyright: ignore[reportUnknownMemberType]
        return await connect(
            self._url,
            timeout=_ANSWER_WITHIN_S,
            command_timeout=_ANSWER_WITHIN_S,
            server_settings={"application_name": "kroma-keeper"},
        )

    async def _tick(self, connection: Any) -> None:  # noqa: ANN401 - asyncpg ships no types
        with self._lock:
            held = list(self._held)
        now = monotonic()
        for kind, renew, stopped in _STATEMENTS:
            rows = [one for one in held if one.kind is kind]
            if not rows:
                continue
            arrays = _arrays(rows)
            if any(now - one.renewed_at >= self._renew_every_s for one in rows):
                for (place,) in await connection.fetch(renew, *arrays, self.lease):
                    rows[int(place)].renewed_at = now
            for place, stop in await connection.fetch(stopped, *arrays):
                rows[int(place)].stop_soon(Stop(stop))
        await self._show_presence(connection, now, jobs=sum(one.kind is JobClaim for one in held))

    async def _show_presence(self, connection: Any, now: float, *, jobs: int) -> None:  # noqa: ANN401 - asyncpg ships no types
        me = self._presence
        if me is None:
            return
        if self._shown_at is None:
            await connection.execute(_LONG_GONE)
        if self._shown_at is None or now - self._shown_at >= PRESENT_EVERY.total_seconds():
            await connection.execute(_PRESENT, me.name, me.host, me.pid, me.version, me.started_at, jobs)
            self._shown_at = now

    async def _leave(self, connection: Any) -> None:  # noqa: ANN401 - asyncpg ships no types
        try:
            if self._presence is not None:
                await connection.execute(_GONE, self._presence.name)
            await connection.close(timeout=1)
        except DATABASE_TROUBLE:
            connection.terminate()


def _row_id(claim: AnyClaim) -> UUID:
    match claim:
        case JobClaim():
            return claim.job_id
        case RunClaim():
            return claim.run_id
        case SyncClaim():
            return claim.sync_id


def _arrays(rows: Sequence[_Held]) -> tuple[list[int], list[UUID], list[int], list[str]]:
    """Places, ids, fences and owners, as ``unnest`` takes them."""
    return (
        list(range(len(rows))),
        [one.row_id for one in rows],
        [one.fence for one in rows],
        [one.owner for one in rows],
    )
