"""A worker that is told to stop: what is nearly done ends, the rest goes back at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import pytest

from kroma.providers.fake import FakeOutcome
from kroma.queue.arq import ArqTaskQueue
from kroma_worker.main import drain
from kroma_worker.registry import TaskDeps, dispatch
from kroma_worker.slots import WorkerSlots
from kroma_worker.tasks.sweep import sweep_for_ever
from support.harness.worker_harness import Studio

pytestmark = pytest.mark.timeout(120)


class Serving:
    """A worker's loops, as its start-up begins them."""

    def __init__(self, studio: Studio, queue: ArqTaskQueue) -> None:
        self.slots = WorkerSlots(1)
        deps = TaskDeps(context=studio.context, queue=queue, worker="w", slots=self.slots)
        self.tasks: list[asyncio.Future[None]] = [
            asyncio.ensure_future(queue.consume(partial(dispatch, deps), concurrency=1)),
            asyncio.ensure_future(sweep_for_ever(deps)),
        ]

    async def stop(self, *, grace_s: float) -> None:
        await drain(self.slots, self.tasks, grace=timedelta(seconds=grace_s))


@asynccontextmanager
async def notified(studio: Studio, redis_url: str) -> AsyncIterator[ArqTaskQueue]:
    queue = ArqTaskQueue(redis_url, answer_within_s=30)
    studio.queue = queue
    yield queue
    await queue.close()


async def called(studio: Studio) -> None:
    async with asyncio.timeout(60):
        while not studio.provider.calls:
            await asyncio.sleep(0.02)


async def test_what_is_nearly_done_ends_within_the_grace_time(studio: Studio, redis_url: str) -> None:
    studio.script(FakeOutcome(delay_s=0.5))
    async with notified(studio, redis_url) as queue:
        serving = Serving(studio, queue)
        run = await studio.trigger(["harbor.png"], candidates=1)
        await called(studio)
        await serving.stop(grace_s=60)
    assert (await studio.rows(run)).run.status == "ok"


async def test_what_is_not_goes_back_with_its_lease_its_attempt_and_its_message(
    studio: Studio, redis_url: str
) -> None:
    studio.script(FakeOutcome(delay_s=600))
    async with notified(studio, redis_url) as queue:
        serving = Serving(studio, queue)
        run = await studio.trigger(candidates=1)
        await called(studio)
        await serving.stop(grace_s=0)
        jobs = (await studio.rows(run)).jobs
        assert [(job.status, job.attempt, job.lease_owner) for job in jobs] == [("queued", 0, None)] * 2
        assert await queue.depth() >= 2  # the sweep may have rung for them, too
        # The next worker goes on at once.
        studio.script()
        following = Serving(studio, queue)
        async with asyncio.timeout(60):
            while not (await studio.rows(run)).run.finished_at:
                await asyncio.sleep(0.05)
        await following.stop(grace_s=0)
    assert (await studio.rows(run)).run.status == "ok"
