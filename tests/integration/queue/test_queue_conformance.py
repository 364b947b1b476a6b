"""One suite for the queue protocol, over its three implementations."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import pytest

from kroma.db.engine import Database
from kroma.queue.arq import ArqTaskQueue
from kroma.queue.base import TaskQueue
from kroma.queue.messages import AnyMessage, ExecuteJob, FinishRun
from kroma.queue.postgres import PostgresTaskQueue
from support.doubles.memory_queue import MemoryTaskQueue

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=["arq", "memory", "postgres"])
async def queue(request: pytest.FixtureRequest) -> AsyncIterator[TaskQueue]:
    match request.param:
        case "arq":
            opened: TaskQueue = ArqTaskQueue(request.getfixturevalue("redis_url"), answer_within_s=30)
            yield opened
            await opened.close()
        case "memory":
            yield MemoryTaskQueue()
        case _:
            database = Database.connect(request.getfixturevalue("fresh_database_url"))
            yield PostgresTaskQueue(database)
            await database.close()


class Received:
    """A handler that remembers, and can be held."""

    def __init__(self) -> None:
        self.messages: list[AnyMessage] = []
        self.running = 0
        self.most_running = 0
        self.canceled = 0
        self.may_end = asyncio.Event()
        self.may_end.set()
        self._arrived = asyncio.Condition()

    async def __call__(self, message: AnyMessage) -> None:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        async with self._arrived:
            self.messages.append(message)
            self._arrived.notify_all()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.canceled += 1
            raise
        finally:
            self.running -= 1

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(20), self._arrived:
            await self._arrived.wait_for(lambda: len(self.messages) >= count)


@asynccontextmanager
async def consuming(queue: TaskQueue, handler: Received, *, concurrency: int = 4) -> AsyncIterator[None]:
    task = asyncio.ensure_future(queue.consume(handler, concurrency=concurrency))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def jobs(count: int) -> list[AnyMessage]:
    return [ExecuteJob(job_id=uuid4()) for _ in range(count)]


async def test_every_implementation_is_a_task_queue(queue: TaskQueue) -> None:
    assert isinstance(queue, TaskQueue)


async def test_messages_of_each_kind_arrive_as_they_were_sent(queue: TaskQueue) -> None:
    sent: list[AnyMessage] = [ExecuteJob(job_id=uuid4()), FinishRun(run_id=uuid4())]
    received = Received()
    async with consuming(queue, received):
        await queue.enqueue_many(sent)
        await received.wait_for(2)
    assert sorted(map(str, received.messages)) == sorted(map(str, sent))


async def test_messages_sent_before_anyone_consumes_wait(queue: TaskQueue) -> None:
    sent = jobs(3)
    await queue.enqueue_many(sent)
    assert await queue.depth() == 3
    received = Received()
    async with consuming(queue, received):
        await received.wait_for(3)
    assert set(received.messages) == set(sent)


async def test_a_consumed_message_is_gone(queue: TaskQueue) -> None:
    received = Received()
    await queue.enqueue_many(jobs(2))
    async with consuming(queue, received):
        await received.wait_for(2)
        async with asyncio.timeout(10):
            while await queue.depth():
                await asyncio.sleep(0.01)
    again = Received()
    late = jobs(1)
    async with consuming(queue, again):
        await queue.enqueue_many(late)
        await again.wait_for(1)
    assert again.messages == late


async def test_no_more_messages_are_in_hand_than_allowed(queue: TaskQueue) -> None:
    received = Received()
    received.may_end.clear()
    await queue.enqueue_many(jobs(7))
    async with consuming(queue, received, concurrency=2):
        await received.wait_for(2)
        # Room for a third to slip in, if anything let it.
        await asyncio.sleep(0.2)
        assert received.most_running == 2
        received.may_end.set()
        await received.wait_for(7)
    assert received.most_running == 2


async def test_many_messages_all_arrive_once(queue: TaskQueue) -> None:
    sent = jobs(120)
    received = Received()
    async with consuming(queue, received, concurrency=8):
        await asyncio.gather(*(queue.enqueue_many(sent[start : start + 10]) for start in range(0, 120, 10)))
        await received.wait_for(120)
        await asyncio.sleep(0.1)
    assert len(received.messages) == 120
    assert set(received.messages) == set(sent)


async def test_two_consumers_share_the_messages(queue: TaskQueue) -> None:
    sent = jobs(20)
    received = Received()
    async with consuming(queue, received), consuming(queue, received):
        await queue.enqueue_many(sent)
        await received.wait_for(20)
    assert sorted(map(str, received.messages)) == sorted(map(str, sent))


async def test_a_delayed_message_comes_after_one_without_delay(queue: TaskQueue) -> None:
    late, early = jobs(2)
    received = Received()
    async with consuming(queue, received):
        await queue.enqueue_many([late], delay=timedelta(seconds=0.6))
        assert await queue.depth() == 1
        await queue.enqueue_many([early])
        await received.wait_for(2)
    assert received.messages == [early, late]


async def test_cancelling_the_consumer_cancels_what_is_in_hand(queue: TaskQueue) -> None:
    received = Received()
    received.may_end.clear()
    await queue.enqueue_many(jobs(2))
    async with consuming(queue, received):
        await received.wait_for(2)
    assert (received.canceled, received.running) == (2, 0)


async def test_a_handler_that_fails_does_not_end_the_consumer(queue: TaskQueue) -> None:
    received = Received()

    async def fails_once(message: AnyMessage) -> None:
        await received(message)
        if len(received.messages) == 1:
            msg = "a bug"
            raise RuntimeError(msg)

    task = asyncio.ensure_future(queue.consume(fails_once, concurrency=1))
    await queue.enqueue_many(jobs(2))
    await received.wait_for(2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_ringing_for_nothing_is_nothing(queue: TaskQueue) -> None:
    await queue.enqueue_many([])
    assert await queue.depth() == 0
