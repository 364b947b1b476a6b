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
from kroma.leases.claim import LEASE, Claim, ClaimLostError, LeaseTable

log = structlog.get_logger(__name__)

RENEW_EVERY: Final = timedelta(seconds=10)
LOOK_EVERY: Final = timedelta(seconds=1)
"""A canceled run is noticed within two of these."""
PRESENT_EVERY: Final = timedelta(seconds=10)
_ANSWER_WITHIN_S: Final = 8.0
"""For a connection or a statement; after it a new connection is tried, while the leases still hold."""
_CLOSE_WITHIN_S: Final = 10.0

_HELD: Final = """
    unnest($1::int[], $2::uuid[], $3::bigint[], $4::text[]) AS held(position, id, fence, owner)
"""
_PRESENT: Final = """
    INSERT INTO workers (name, host, pid, version, started_at, seen_at, jobs)
    VALUES ($1, $2, $3, $4, $5, clock_timestamp(), $6)
    ON CONFLICT (name) DO UPDATE SET seen_at = clock_timestamp(), jobs = excluded.jobs
"""
_LONG_GONE: Final = "DELETE FROM workers WHERE seen_at < clock_timestamp() - interval '1 day'"
_GONE: Final = "DELETE FROM workers WHERE name = $1"


def _renewal(table: LeaseTable) -> str:
    # Rows that a write of ours has locked just now are skipped and renewed at the next look; nobody else
    # can claim them meanwhile.
    return f"""
        WITH free AS (
            SELECT position, leased.id FROM {table.name} leased JOIN {_HELD} ON leased.id = held.id
            WHERE leased.fence = held.fence AND leased.lease_owner = held.owner
            FOR NO KEY UPDATE OF leased SKIP LOCKED)
        UPDATE {table.name} SET lease_expires_at = clock_timestamp() + $5::interval
        FROM free WHERE {table.name}.id = free.id RETURNING position
    """  # noqa: S608 - tables of our own


def _stops(table: LeaseTable) -> str:
    return f"""
        SELECT position, stop FROM (
            SELECT position, CASE
                WHEN leased.id IS NULL OR leased.fence <> held.fence
                    OR leased.lease_owner IS DISTINCT FROM held.owner THEN 'lost'
                ELSE {table.stop} END AS stop
            FROM {_HELD} LEFT JOIN {table.name} leased ON leased.id = held.id {table.joins}) AS look_at
        WHERE stop IS NOT NULL
    """  # noqa: S608 - as above


class Stop(StrEnum):
    """Why work must not go on."""

    LOST = "lost"
    CANCELED = "canceled"
    PAUSED = "paused"


class WorkStoppedError(Exception):
    """What is under way is not wanted now: it is being canceled, or its project is paused."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop)
        self.stop = stop


class WorkerHeartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker's row says of it (``kroma.workers.models``)."""

    name: str
    host: str
    pid: int
    version: str
    started_at: Any
    """A ``datetime``."""


class _Held:
    """One claim, and the task that works under it."""

    def __init__(self, claim: Claim, task: "asyncio.Task[Any]", *, renewed_at: float) -> None:
        self.row_id = claim.row_id
        self.table = claim.lease_table
        self.fence = claim.fence
        self.owner = claim.worker
        self.task = task
        self.loop = task.get_loop()
        self.renewed_at = renewed_at
        self.stop: Stop | None = None
        self.is_over = False

    def stop_soon(self, stop: Stop) -> None:
        with contextlib.suppress(RuntimeError):  # its loop is closed: nothing works there any more
            self.loop.call_soon_threadsafe(self._stop, stop)

    def _stop(self, stop: Stop) -> None:
        # On the work's own loop, so that it cannot end between the question and the cancellation.
        if not self.is_over and self.stop is None:
            self.stop = stop
            self.task.cancel()


class LeaseRenewer:
    """Keeps all claims of one process; its thread starts with the first of them."""

    def __init__(
        self,
        url: str,
        *,
        lease: timedelta = LEASE,
        renew_every: timedelta = RENEW_EVERY,
        look_every: timedelta = LOOK_EVERY,
        heartbeat: WorkerHeartbeat | None = None,
    ) -> None:
        """Keep claims on a database.

        Args:
            url: ``postgresql://...``.
            renew_every: How often, at most, a claim is renewed.
            look_every: How often to look for what was lost, canceled or paused.
            heartbeat: Shown in ``workers`` while the renewer runs.
        """
        self.lease = lease
        self._url = url.replace("postgresql+asyncpg://", "postgresql://", 1)
        self._renew_every_s = renew_every.total_seconds()
        self._look_every_s = look_every.total_seconds()
        self._heartbeat = heartbeat
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
                self._thread = threading.Thread(target=self._run, name="lease-renewer", daemon=True)
                self._thread.start()

    async def wait_until_shown(self, *, within_s: float) -> None:
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
    async def renewing(self, claim: Claim) -> AsyncGenerator[None]:
        """Renew a claim's lease while the block runs; cancel the block when it must not go on.

        Raises:
            ClaimLostError: A newer claim exists.
            WorkStoppedError: The job's run, or the sync, is being canceled, or the job's project is paused.
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
                    connection = await self._connect()
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

    async def _connect(self) -> Any:  # noqa: ANN401 - asyncpg ships no types
        connect = cast("Callable[..., Awaitable[Any]]", asyncpg.connect)  # pyright: ignore[reportUnknownMemberType]
        return await connect(
            self._url,
            timeout=_ANSWER_WITHIN_S,
            command_timeout=_ANSWER_WITHIN_S,
            server_settings={"application_name": "kroma-lease-renewer"},
        )

    async def _tick(self, connection: Any) -> None:  # noqa: ANN401 - asyncpg ships no types
        with self._lock:
            held = list(self._held)
        now = monotonic()
        for table in {one.table for one in held}:
            rows = [one for one in held if one.table == table]
            arrays = _arrays(rows)
            if any(now - one.renewed_at >= self._renew_every_s for one in rows):
                for (position,) in await connection.fetch(_renewal(table), *arrays, self.lease):
                    rows[int(position)].renewed_at = now
            for position, stop in await connection.fetch(_stops(table), *arrays):
                rows[int(position)].stop_soon(Stop(stop))
        await self._show_heartbeat(connection, now, jobs=sum(one.table.is_job for one in held))

    async def _show_heartbeat(self, connection: Any, now: float, *, jobs: int) -> None:  # noqa: ANN401 - asyncpg ships no types
        me = self._heartbeat
        if me is None:
            return
        if self._shown_at is None:
            await connection.execute(_LONG_GONE)
        if self._shown_at is None or now - self._shown_at >= PRESENT_EVERY.total_seconds():
            await connection.execute(_PRESENT, me.name, me.host, me.pid, me.version, me.started_at, jobs)
            self._shown_at = now

    async def _leave(self, connection: Any) -> None:  # noqa: ANN401 - asyncpg ships no types
        try:
            if self._heartbeat is not None:
                await connection.execute(_GONE, self._heartbeat.name)
            await connection.close(timeout=1)
        except DATABASE_TROUBLE:
            connection.terminate()


def _arrays(rows: Sequence[_Held]) -> tuple[list[int], list[UUID], list[int], list[str]]:
    """Positions, ids, fences and owners, as ``unnest`` takes them."""
    return (
        list(range(len(rows))),
        [one.row_id for one in rows],
        [one.fence for one in rows],
        [one.owner for one in rows],
    )
