"""The thread that keeps leases: what it saves, what it lets go, what it stops."""

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from time import monotonic
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.leases.claim import ClaimLostError
from kroma.leases.renewer import LeaseRenewer, Stop, WorkerHeartbeat, WorkStoppedError
from kroma.pipeline.execution.claim import JobClaim, claim_job
from kroma.pipeline.execution.sweep import list_due
from kroma.projects.models import Project
from kroma.providers.fake import FakeOutcome
from kroma.runs.models import Run, RunJob
from kroma.workers.models import WorkerRow
from kroma.workers.queries import list_living
from support.harness.worker_harness import Studio, url_of

pytestmark = pytest.mark.timeout(120)

SHORT = timedelta(seconds=2)
CUT = """
    SELECT count(*) FROM (
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name = 'kroma-lease-renewer' AND datname = current_database()
    ) AS cut
"""
HOLDER = """
import asyncio, sys
from datetime import timedelta
from uuid import UUID
import kroma.tables
from kroma.db.engine import Database
from kroma.pipeline.execution.claim import claim_job
from kroma.leases.renewer import LeaseRenewer

async def hold(url, job_id):
    lease = timedelta(seconds=2)
    keeper = LeaseRenewer(url, lease=lease, renew_every=lease / 8, look_every=lease / 8)
    db = Database.connect(url)
    claim = await claim_job(db, UUID(job_id), worker="held", lease=lease)
    async with keeper.renewing(claim):
        print("claimed", flush=True)
        await asyncio.Event().wait()

try:
    asyncio.run(hold(*sys.argv[1:]))
except Exception as exc:
    print(type(exc).__name__, flush=True)
"""


def quick_renewer(studio: Studio) -> LeaseRenewer:
    return LeaseRenewer(url_of(studio.db), lease=SHORT, renew_every=SHORT / 8, look_every=SHORT / 8)


async def first_job(studio: Studio) -> UUID:
    message, *_ = await studio.job_messages(await studio.trigger(["harbor.png"]))
    return message.job_id


async def claimed(studio: Studio, job_id: UUID) -> JobClaim:
    claim = await claim_job(studio.db, job_id, worker="a", lease=SHORT)
    assert claim is not None
    return claim


@asynccontextmanager
async def keeping(studio: Studio) -> AsyncIterator[LeaseRenewer]:
    renewer = quick_renewer(studio)
    try:
        yield renewer
    finally:
        await renewer.close()


async def try_to_take(url: str, job_id: UUID, *, for_s: float) -> bool:
    """A second worker, with a loop of its own."""
    db = Database.connect(url)
    try:
        until = monotonic() + for_s
        while monotonic() < until:
            if await list_due(db) or await claim_job(db, job_id, worker="b") is not None:
                return True
            await asyncio.sleep(0.05)
        return False
    finally:
        await db.close()


async def test_a_blocked_event_loop_loses_no_lease(studio: Studio) -> None:
    job_id = await first_job(studio)
    taken: list[bool] = []
    wanted = try_to_take(url_of(studio.db), job_id, for_s=2 * SHORT.total_seconds())
    rival = threading.Thread(target=lambda: taken.append(asyncio.run(wanted)))
    async with keeping(studio) as renewer, renewer.renewing(await claimed(studio, job_id)):
        rival.start()
        while rival.is_alive():
            sum(range(10_000))  # nothing else on this loop gets a turn
    assert taken == [False]


async def test_a_stopped_process_loses_its_lease_and_learns_it(studio: Studio) -> None:
    job_id = await first_job(studio)
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, url_of(studio.db), str(job_id), stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"claimed\n"
    holder.send_signal(signal.SIGSTOP)
    assert await try_to_take(url_of(studio.db), job_id, for_s=60)
    holder.send_signal(signal.SIGCONT)
    # The sweep's look or the claim itself: the row is another worker's now.
    async with studio.db.transaction() as session:
        await session.execute(update(RunJob).values(fence=RunJob.fence + 1))
    assert await holder.stdout.readline() == b"ClaimLostError\n"
    await holder.communicate()  # to the end of its output, which closes its pipe


async def endless(renewer: LeaseRenewer, claim: JobClaim) -> None:
    async with renewer.renewing(claim):
        await asyncio.Event().wait()


async def test_work_under_a_lost_claim_is_cancelled(studio: Studio) -> None:
    job_id = await first_job(studio)
    claim = await claimed(studio, job_id)
    async with keeping(studio) as renewer:
        working = asyncio.ensure_future(endless(renewer, claim))
        async with studio.db.transaction() as session:
            await session.execute(update(RunJob).values(fence=RunJob.fence + 1, lease_owner="b"))
        with pytest.raises(ClaimLostError):
            await working


async def test_one_claim_that_is_lost_costs_no_other(studio: Studio) -> None:
    first, second = await studio.job_messages(await studio.trigger())
    lost, kept = await claimed(studio, first.job_id), await claimed(studio, second.job_id)
    async with keeping(studio) as renewer, renewer.renewing(kept):
        working = asyncio.ensure_future(endless(renewer, lost))
        async with studio.db.transaction() as session:
            moved = update(RunJob).where(RunJob.id == lost.job_id).values(fence=RunJob.fence + 1)
            await session.execute(moved)
        with pytest.raises(ClaimLostError):
            await working


@pytest.mark.parametrize("stop", [Stop.CANCELED, Stop.PAUSED])
async def test_work_that_is_not_wanted_any_more_is_cancelled(studio: Studio, stop: Stop) -> None:
    claim = await claimed(studio, await first_job(studio))
    async with keeping(studio) as renewer:
        working = asyncio.ensure_future(endless(renewer, claim))
        async with studio.db.transaction() as session:
            if stop is Stop.CANCELED:
                await session.execute(update(Run).values(status="canceling"))
            else:
                await session.execute(update(Project).values(paused_at=utc_now()))
        with pytest.raises(WorkStoppedError) as raised:
            await working
    assert raised.value.stop is stop


async def test_being_stopped_from_outside_wins(studio: Studio) -> None:
    claim = await claimed(studio, await first_job(studio))
    async with keeping(studio) as renewer:
        working = asyncio.ensure_future(endless(renewer, claim))
        await asyncio.sleep(0)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working


async def test_a_cancelled_run_stops_the_free_work_under_way(studio: Studio) -> None:
    studio.script(FakeOutcome(delay_s=600))
    run = await studio.trigger(["harbor.png"])
    working = asyncio.ensure_future(studio.work())
    async with asyncio.timeout(60):
        while not studio.provider.calls:
            await asyncio.sleep(0.02)
    async with studio.db.transaction() as session:
        await session.execute(update(Run).values(status="canceling"))
    await working
    rows = await studio.rows(run)
    assert (rows.run.status, rows.jobs[0].status) == ("canceled", "canceled")
    assert (rows.jobs[0].error_code, rows.run.error_code) == ("run_canceled", "run_canceled")


async def test_a_paused_project_gets_its_jobs_back_with_their_attempts(studio: Studio) -> None:
    studio.script(FakeOutcome(delay_s=600))
    run = await studio.trigger(["harbor.png"])
    working = asyncio.ensure_future(studio.work())
    async with asyncio.timeout(60):
        while not studio.provider.calls:
            await asyncio.sleep(0.02)
    async with studio.db.transaction() as session:
        await session.execute(update(Project).values(paused_at=utc_now()))
    await working
    (job,) = (await studio.rows(run)).jobs
    assert (job.status, job.attempt, job.lease_owner) == ("queued", 0, None)


async def test_the_keeper_goes_on_when_its_connection_is_cut(studio: Studio) -> None:
    claim = await claimed(studio, await first_job(studio))
    async with keeping(studio) as renewer, renewer.renewing(claim):
        for _ in range(2):
            async with asyncio.timeout(30):
                while not await studio.db_value(CUT):
                    await asyncio.sleep(0.02)
        renewed_at = select(RunJob.lease_expires_at).where(RunJob.id == claim.job_id)
        async with studio.db.transaction() as session:
            before = await session.scalar(renewed_at)
        async with asyncio.timeout(30):
            while True:
                async with studio.db.transaction() as session:
                    if await session.scalar(renewed_at) != before:
                        break
                await asyncio.sleep(0.02)


async def test_a_worker_shows_itself_while_it_runs_and_is_gone_when_it_stops(studio: Studio) -> None:
    heartbeat = WorkerHeartbeat(name="w-1", host="studio", pid=7, version="0.1.0", started_at=utc_now())
    renewer = LeaseRenewer(url_of(studio.db), look_every=timedelta(milliseconds=50), heartbeat=heartbeat)
    renewer.start()

    async def living() -> list[str]:
        async with studio.db.transaction() as session:
            return [worker.name for worker in await list_living(session)]

    async with asyncio.timeout(30):
        while await living() != ["w-1"]:
            await asyncio.sleep(0.02)
    await renewer.close()
    assert await living() == []


async def test_a_worker_that_was_not_seen_lately_is_not_living(studio: Studio) -> None:
    seen = func.clock_timestamp() - timedelta(seconds=31)
    async with studio.db.transaction() as session:
        session.add(WorkerRow(name="w", host="h", pid=1, version="0", started_at=utc_now(), seen_at=seen))
    async with studio.db.transaction() as session:
        assert await list_living(session) == []
