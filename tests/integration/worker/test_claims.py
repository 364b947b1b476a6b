"""Leases, fences, resumption and the sweep."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, update

from kroma.db.base import utc_now
from kroma.leases.claim import ClaimLostError
from kroma.leases.sweep import end_spent
from kroma.pipeline.execution.claim import JobClaim, claim_job, claim_run
from kroma.pipeline.execution.execute import run_claimed_job
from kroma.pipeline.execution.step_recorder import TableRecorder
from kroma.pipeline.execution.sweep import fail_spent, list_due
from kroma.providers.fake import FakeOutcome
from kroma.queue.arq import ArqTaskQueue
from kroma.queue.messages import ExecuteJob, FinishRun
from kroma.runs.models import Run, RunJob
from kroma_worker.registry import TaskDeps
from kroma_worker.tasks.sweep import RecentNotifications, sweep_for_ever
from support.harness.worker_harness import Studio

pytestmark = pytest.mark.timeout(120)


async def only_job(studio: Studio, run: Run) -> UUID:
    (message,) = await studio.job_messages(run)
    return message.job_id


async def expire_leases(studio: Studio) -> None:
    past = func.clock_timestamp() - timedelta(seconds=1)
    async with studio.db.transaction() as session:
        await session.execute(update(RunJob).values(lease_expires_at=past))


async def claimed(studio: Studio, job_id: UUID) -> JobClaim:
    claim = await claim_job(studio.db, job_id, worker="a")
    assert claim is not None
    return claim


async def test_of_many_claims_at_once_one_wins(studio: Studio) -> None:
    job_id = await only_job(studio, await studio.trigger(["harbor.png"]))
    claims = await asyncio.gather(*(claim_job(studio.db, job_id, worker=str(n)) for n in range(20)))
    assert sum(claim is not None for claim in claims) == 1


async def test_the_first_claim_starts_the_run(studio: Studio) -> None:
    run = await studio.trigger()
    first, _ = await studio.job_messages(run)
    await claimed(studio, first.job_id)
    rows = await studio.rows(run)
    assert rows.run.status == "running"
    assert rows.run.started_at is not None
    assert [job.status for job in rows.jobs] == ["running", "queued"]


async def test_a_live_lease_is_respected_and_a_dead_one_taken_over(studio: Studio) -> None:
    job_id = await only_job(studio, await studio.trigger(["harbor.png"]))
    first = await claimed(studio, job_id)
    assert await claim_job(studio.db, job_id, worker="b") is None
    await expire_leases(studio)
    second = await claim_job(studio.db, job_id, worker="b")
    assert second is not None
    assert (second.fence, second.attempt) == (first.fence + 1, 2)


async def test_a_stale_fence_writes_nothing(studio: Studio) -> None:
    run = await studio.trigger(["harbor.png"])
    job_id = await only_job(studio, run)
    stale = await claimed(studio, job_id)
    await expire_leases(studio)
    fresh = await claimed(studio, job_id)
    with pytest.raises(ClaimLostError):
        await TableRecorder(studio.db, stale).record("rank", {"by": "stale"}, started_at=utc_now())
    with pytest.raises(ClaimLostError):
        await run_claimed_job(studio.context, stale)
    rows = await studio.rows(run)
    assert (rows.jobs[0].status, rows.jobs[0].fence) == ("running", fresh.fence)
    assert rows.candidates["style_1_harbor"] == []


async def test_a_job_claimed_again_continues_behind_its_last_step(studio: Studio) -> None:
    provider = studio.script(FakeOutcome(candidate=2, delay_s=60, times=1))
    run = await studio.trigger(["harbor.png"])
    job_id = await only_job(studio, run)
    lost = asyncio.ensure_future(run_claimed_job(studio.context, await claimed(studio, job_id)))
    async with asyncio.timeout(30):
        while len((await studio.rows(run)).candidates["style_1_harbor"]) < 1:
            await asyncio.sleep(0.02)
    # The worker freezes here: its lease runs out and another one takes over.
    await expire_leases(studio)
    assert await run_claimed_job(studio.context, await claimed(studio, job_id)) is None
    lost.cancel()
    await asyncio.gather(lost, return_exceptions=True)
    rows = await studio.rows(run)
    assert rows.jobs[0].status == "done"
    assert sorted(call.candidate_index for call in provider.calls) == [1, 2, 2]


async def test_a_worker_that_stops_gives_its_job_back_with_the_attempt(studio: Studio) -> None:
    studio.script(FakeOutcome(delay_s=60, times=2))
    run = await studio.trigger(["harbor.png"])
    job_id = await only_job(studio, run)
    working = asyncio.ensure_future(run_claimed_job(studio.context, await claimed(studio, job_id)))
    async with asyncio.timeout(30):
        while len(studio.provider.calls) < 2:
            await asyncio.sleep(0.02)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    (job,) = (await studio.rows(run)).jobs
    assert (job.status, job.attempt, job.lease_owner) == ("queued", 0, None)
    await studio.work()
    assert (await studio.rows(run)).run.status == "ok"


async def test_only_one_worker_finishes_a_run(studio: Studio) -> None:
    run = await studio.trigger(mode="dry", confirm_spend=None)
    claims = await asyncio.gather(*(claim_run(studio.db, run.id, worker=str(n)) for n in range(10)))
    assert sum(claim is not None for claim in claims) == 1


async def test_a_run_with_an_open_job_is_not_finished(studio: Studio) -> None:
    run = await studio.trigger()
    assert await claim_run(studio.db, run.id, worker="a") is None


async def test_the_sweep_finds_what_the_bell_missed(studio: Studio) -> None:
    run = await studio.trigger()
    dry = await studio.trigger(mode="dry", confirm_spend=None)
    assert set(await list_due(studio.db)) == {FinishRun(run_id=dry.id), *await studio.job_messages(run)}


async def test_the_sweep_leaves_a_living_lease_alone_and_finds_a_dead_one(studio: Studio) -> None:
    job_id = await only_job(studio, await studio.trigger(["harbor.png"]))
    await claimed(studio, job_id)
    assert await list_due(studio.db) == []
    await expire_leases(studio)
    assert await list_due(studio.db) == [ExecuteJob(job_id=job_id)]


async def test_a_job_that_costs_its_worker_every_time_ends_and_its_run_too(studio: Studio) -> None:
    run = await studio.trigger()
    poison, _ = await studio.job_messages(run)
    for _ in range(3):
        await claimed(studio, poison.job_id)
        await expire_leases(studio)
    assert await claim_job(studio.db, poison.job_id, worker="a") is None
    await end_spent(studio.db, fail_spent)
    studio.queue.messages = await list_due(studio.db)
    await studio.work()
    rows = await studio.rows(run)
    assert [job.status for job in rows.jobs] == ["failed", "done"]
    assert (rows.jobs[0].error, rows.jobs[0].error_code) == ("Its worker was lost 3 times", "worker_lost")
    assert (rows.run.status, rows.run.error_code) == ("failed", "worker_lost")


async def test_the_sweep_rings_once_for_what_stays_due_and_again_for_what_was_lost(studio: Studio) -> None:
    job_id = await only_job(studio, await studio.trigger(["harbor.png"]))
    message = ExecuteJob(job_id=job_id)
    notified = RecentNotifications()
    for _ in range(3):
        await notified.notify(studio.queue, await list_due(studio.db))
    assert studio.queue.messages.count(message) == 2  # the trigger's and one of the sweep's
    await claimed(studio, job_id)
    await notified.notify(studio.queue, await list_due(studio.db))
    await expire_leases(studio)
    await notified.notify(studio.queue, await list_due(studio.db))
    assert studio.queue.messages.count(message) == 3


async def test_without_a_bell_the_sweep_carries_the_work(studio: Studio, unused_tcp_port: int) -> None:
    run = await studio.trigger()
    silent = ArqTaskQueue(f"redis://127.0.0.1:{unused_tcp_port}/0")
    deps = TaskDeps(context=studio.context, queue=silent, worker="worker-test")
    sweeping = asyncio.ensure_future(sweep_for_ever(deps))
    async with asyncio.timeout(60):
        while (await studio.rows(run)).run.status != "ok":
            await asyncio.sleep(0.1)
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
    await silent.close()
