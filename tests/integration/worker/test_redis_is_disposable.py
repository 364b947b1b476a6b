"""Whatever becomes of Redis, triggers are accepted and workers find the work."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import monotonic

import pytest
import redis

from kroma.embedded.valkey import EmbeddedValkey
from kroma.queue.arq import ArqTaskQueue
from kroma.queue.errors import QueueUnavailableError
from kroma.queue.messages import ExecuteJob
from kroma.runs.models import Run
from kroma_worker.registry import TaskDeps, dispatch
from kroma_worker.slots import WorkerSlots
from kroma_worker.tasks.sweep import sweep_for_ever
from support.harness.worker_harness import Studio

pytestmark = pytest.mark.timeout(180)

PAUSED_MS = 5_000
DOWN = ("stopped", "killed", "paused", "full")


class RedisProcess:
    """A Valkey of the test's own, and what can befall it."""

    def __init__(self, server: EmbeddedValkey) -> None:
        self.server = server
        self.server.start()
        self.url = server.url

    def do(self, *command: str | int) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.execute_command(*command)

    def break_down(self, how: str) -> None:
        match how:
            case "stopped":
                os.kill(self.server.pid or 0, signal.SIGSTOP)
            case "killed":
                self.server.stop()
            case "paused":
                self.do("CLIENT", "PAUSE", PAUSED_MS, "ALL")
            case _:
                self.do("CONFIG", "SET", "maxmemory", 1)

    def come_back(self, how: str) -> None:
        match how:
            case "stopped":
                os.kill(self.server.pid or 0, signal.SIGCONT)
            case "killed":
                self.server.start()
            case "paused":
                pass  # it takes no command before its time is up
            case _:
                self.do("CONFIG", "SET", "maxmemory", 0)


@pytest.fixture
def redis_process() -> Iterator[RedisProcess]:
    with tempfile.TemporaryDirectory(prefix="kroma-bell-") as folder:
        opened = RedisProcess(EmbeddedValkey(Path(folder)))
        yield opened
        if opened.server.pid is not None:
            os.kill(opened.server.pid, signal.SIGCONT)
        opened.server.stop()


@asynccontextmanager
async def worker(studio: Studio, url: str) -> AsyncIterator[ArqTaskQueue]:
    queue = ArqTaskQueue(url)
    deps = TaskDeps(context=studio.context, queue=queue, worker="w", slots=WorkerSlots(4))
    serving = [
        asyncio.ensure_future(queue.consume(partial(dispatch, deps), concurrency=4)),
        asyncio.ensure_future(sweep_for_ever(deps)),
    ]
    try:
        yield queue
        assert not any(task.done() for task in serving), "the worker ended"
    finally:
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await queue.close()


async def trigger(studio: Studio, queue: ArqTaskQueue) -> Run:
    studio.queue = queue
    return await studio.trigger(["harbor.png"], candidates=1)


async def ended(studio: Studio, run: Run) -> str:
    async with asyncio.timeout(60):
        while (await studio.rows(run)).run.finished_at is None:
            await asyncio.sleep(0.05)
    return (await studio.rows(run)).run.status


@pytest.mark.parametrize("how", DOWN)
async def test_work_goes_on_while_redis_is_away_and_after(
    studio: Studio, redis_process: RedisProcess, how: str
) -> None:
    async with worker(studio, redis_process.url) as queue:
        assert await ended(studio, await trigger(studio, queue)) == "ok"
        redis_process.break_down(how)
        without = await trigger(studio, queue)
        assert await ended(studio, without) == "ok"
        redis_process.come_back(how)
        async with asyncio.timeout(30):
            while True:
                try:
                    await queue.depth()
                    break
                except QueueUnavailableError:
                    await asyncio.sleep(0.1)
        assert await ended(studio, await trigger(studio, queue)) == "ok"


async def test_a_worker_starts_without_redis(studio: Studio, unused_tcp_port: int) -> None:
    async with worker(studio, f"redis://127.0.0.1:{unused_tcp_port}/0") as queue:
        assert await ended(studio, await trigger(studio, queue)) == "ok"


async def test_flushing_loses_nothing(studio: Studio, redis_process: RedisProcess) -> None:
    queue = ArqTaskQueue(redis_process.url)
    run = await trigger(studio, queue)
    redis_process.do("FLUSHALL")
    await queue.close()
    async with worker(studio, redis_process.url):
        assert await ended(studio, run) == "ok"


async def test_a_bell_that_rings_wakes_a_worker_that_does_not_look(
    studio: Studio, redis_process: RedisProcess
) -> None:
    """Pickup is the bell's again once it is back: this worker has no sweep at all."""
    queue = ArqTaskQueue(redis_process.url)
    deps = TaskDeps(context=studio.context, queue=queue, worker="w")
    consuming = asyncio.ensure_future(queue.consume(partial(dispatch, deps), concurrency=1))
    redis_process.break_down("killed")
    redis_process.come_back("killed")
    async with asyncio.timeout(60):
        run = await trigger(studio, queue)
        while not (await studio.rows(run)).run.finished_at:
            if await queue_is_empty(queue):  # rung while nobody heard
                run = await trigger(studio, queue)
            await asyncio.sleep(0.1)
    consuming.cancel()
    await asyncio.gather(consuming, return_exceptions=True)
    await queue.close()


async def queue_is_empty(queue: ArqTaskQueue) -> bool:
    try:
        return await queue.depth() == 0
    except QueueUnavailableError:
        return False


async def test_a_redis_that_does_not_answer_holds_one_caller_for_a_moment_only(
    studio: Studio, redis_process: RedisProcess
) -> None:
    (message,) = await studio.job_messages(await studio.trigger(["harbor.png"]))
    queue = ArqTaskQueue(redis_process.url, answer_within_s=0.3)
    await queue.enqueue_many([message])
    redis_process.break_down("stopped")
    began = monotonic()
    for _ in range(20):
        with pytest.raises(QueueUnavailableError):
            await queue.enqueue_many([ExecuteJob(job_id=message.job_id)])
    # Twenty patient callers would have waited for six seconds.
    assert monotonic() - began < 5
    redis_process.come_back("stopped")
    await queue.close()
