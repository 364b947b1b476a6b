"""What is particular to the bell on Redis."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
import redis.asyncio

from kroma.queue.arq import MESSAGES, ArqTaskQueue
from kroma.queue.errors import QueueUnavailableError
from kroma.queue.messages import AnyMessage, ExecuteJob

pytestmark = pytest.mark.timeout(60)


async def test_a_bell_that_is_down_is_said_to_be(unused_tcp_port: int) -> None:
    queue = ArqTaskQueue(f"redis://127.0.0.1:{unused_tcp_port}/0")
    with pytest.raises(QueueUnavailableError):
        await queue.enqueue_many([ExecuteJob(job_id=uuid4())])
    with pytest.raises(QueueUnavailableError):
        await queue.depth()
    await queue.close()


async def test_only_ids_travel(redis_url: str) -> None:
    job_id = uuid4()
    queue = ArqTaskQueue(redis_url)
    await queue.enqueue_many([ExecuteJob(job_id=job_id)])
    await queue.enqueue_many([ExecuteJob(job_id=job_id)], delay=timedelta(minutes=1))
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        (key,) = await client.keys("arq:job:*")
        payloads = [await client.get(key), *await client.lrange(MESSAGES, 0, -1)]
    await queue.close()
    assert len(payloads) == 2
    for payload in payloads:
        assert str(job_id).encode() in payload
        assert len(payload) < 200
        assert b"pickle" not in payload
        assert not payload.startswith(b"\x80\x04")


async def test_a_flushed_bell_rings_again_for_the_next_message(redis_url: str) -> None:
    queue = ArqTaskQueue(redis_url)
    received: list[AnyMessage] = []
    arrived = asyncio.Event()

    async def handler(message: AnyMessage) -> None:
        received.append(message)
        arrived.set()

    consumer = asyncio.ensure_future(queue.consume(handler, concurrency=2))
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.flushdb()
    message = ExecuteJob(job_id=uuid4())
    await queue.enqueue_many([message])
    async with asyncio.timeout(20):
        await arrived.wait()
    consumer.cancel()
    await asyncio.gather(consumer, return_exceptions=True)
    await queue.close()
    assert received == [message]


@pytest.mark.parametrize("delay_s", [pytest.param(0, id="by the list"), pytest.param(0.001, id="by arq")])
async def test_what_is_under_way_when_a_consumer_stops_goes_back_without_a_word(
    redis_url: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], delay_s: float
) -> None:
    queue = ArqTaskQueue(redis_url)
    begun = asyncio.Event()

    async def handler(_: AnyMessage) -> None:
        begun.set()
        await asyncio.Event().wait()

    await queue.enqueue_many([ExecuteJob(job_id=uuid4())], delay=timedelta(seconds=delay_s))
    consumer = asyncio.ensure_future(queue.consume(handler, concurrency=2))
    async with asyncio.timeout(20):
        await begun.wait()
    assert await queue.depth() <= 1
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer

    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert await client.llen(MESSAGES) == 1
    assert await queue.depth() == 1
    await queue.close()
    assert caplog.records == []
    assert "Traceback" not in "".join(capsys.readouterr())


async def test_a_consumer_waits_for_a_bell_that_comes_back(redis_url: str) -> None:
    queue = ArqTaskQueue(redis_url)
    arrived = asyncio.Event()

    async def handler(_: AnyMessage) -> None:
        arrived.set()

    consumer = asyncio.ensure_future(queue.consume(handler, concurrency=2))
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        while not await client.client_list():
            await asyncio.sleep(0.01)
        # Every connection is cut under the consumer, as when the server restarts.
        await client.client_kill_filter(_type="normal", skipme=True)
    async with asyncio.timeout(30):
        while not arrived.is_set():
            try:
                await queue.enqueue_many([ExecuteJob(job_id=uuid4())])
            except QueueUnavailableError:
                await asyncio.sleep(0.05)
            assert not consumer.done(), consumer.exception()
            await asyncio.sleep(0.05)
    consumer.cancel()
    await asyncio.gather(consumer, return_exceptions=True)
    await queue.close()
