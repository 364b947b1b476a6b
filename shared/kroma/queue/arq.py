"""The queue on Redis, by ARQ; the only module of the library that knows it.

ARQ as it comes polls every half second. Here every message also pushes a token on a wake
list, and the worker waits on that list instead of sleeping (docs/decisions/0005).
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from time import time
from typing import Any, Final, cast, get_args
from uuid import uuid4

import msgspec
import structlog
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.jobs import serialize_job
from arq.worker import Function, Worker, func
from redis.exceptions import RedisError

from kroma.queue.base import Handler
from kroma.queue.errors import QueueUnavailableError
from kroma.queue.messages import AnyMessage, decode, encode

log = structlog.get_logger(__name__)

QUEUE: Final = "kroma:queue"
WAKE: Final = "kroma:wake"
WAKE_TOKENS: Final = 1_000
"""Tokens are hints: beyond so many, more would only wake a worker for nothing."""
LOOK_EVERY_S: Final = 1.0
"""For delayed messages, and for a token another worker took."""
RECONNECT_AFTER_S: Final = 1.0
ANSWER_WITHIN_S: Final = 2.0
"""A slow Redis must not hold a trigger: the rows are committed, the sweep rings."""
EXPIRES: Final = timedelta(days=1)
MOST_TRIES: Final = 1_000
"""ARQ drops a message whose tries are spent; ours are counted in the job's row."""
TASK_LIMIT: Final = timedelta(hours=6)
"""ARQ wants a limit of its own; the real ones are the tasks' (kroma_worker.registry)."""

logging.getLogger("arq").setLevel(logging.WARNING)


class ArqTaskQueue:
    """Messages travel as ARQ jobs: msgpack, a new id for each, no result kept."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._redis = _connect(url)

    async def enqueue_many(self, messages: Sequence[AnyMessage], *, delay: timedelta = timedelta()) -> None:
        if not messages:
            return
        now_ms = int(time() * 1000)
        due_ms = now_ms + int(delay.total_seconds() * 1000)
        async with _translated(), self._redis.pipeline(transaction=True) as pipe:
            # What ArqRedis.enqueue_job does, for all at once; ids are new, so nothing needs watching.
            for message in messages:
                job_id = uuid4().hex
                payload = serialize_job(
                    type(message).__name__, (encode(message),), {}, None, now_ms, serializer=_serialize
                )
                pipe.psetex(
                    job_key_prefix + job_id, due_ms - now_ms + int(EXPIRES.total_seconds() * 1000), payload
                )
                pipe.zadd(QUEUE, {job_id: due_ms})
            pipe.lpush(WAKE, *(b"" for _ in messages))
            pipe.ltrim(WAKE, 0, WAKE_TOKENS - 1)
            await pipe.execute()

    async def depth(self) -> int:
        async with _translated():
            return int(await self._redis.zcard(QUEUE))

    async def consume(self, handler: Handler, *, concurrency: int) -> None:
        places = asyncio.Semaphore(concurrency)
        in_hand: set[asyncio.Task[Any] | None] = set()
        stopping = False

        async def carry(_: dict[Any, Any], payload: bytes) -> None:
            if stopping:
                raise asyncio.CancelledError  # ARQ had taken it but not begun it: it goes back
            task = asyncio.current_task()
            in_hand.add(task)
            try:
                # Handlers outlive the worker object when Redis goes away, so the bound is ours.
                async with places:
                    await handler(decode(payload))
            finally:
                in_hand.discard(task)

        redis = _connect(self._url)
        worker = WakeWorker(redis, carry, concurrency=concurrency)
        serving = asyncio.ensure_future(_serve_for_ever(worker))
        try:
            # Shielded, and stopped by a flag too: redis-py can swallow a cancellation that meets
            # one of its own time-outs, and would then serve on for ever.
            await asyncio.shield(serving)
        finally:
            stopping = worker.stopping = True
            for task in (serving, *in_hand):
                if task is not None:
                    task.cancel()
            # ARQ ticks each message off behind its handler; closing under it would leak a connection.
            await asyncio.gather(serving, return_exceptions=True)
            await asyncio.gather(*worker.tasks.values(), return_exceptions=True)
            with contextlib.suppress(RedisError, OSError):
                await redis.aclose(close_connection_pool=True)

    async def close(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose(close_connection_pool=True)


class WakeWorker(Worker):
    """An ARQ worker that waits on the wake list, or on a job's end when it is full."""

    def __init__(
        self,
        redis: ArqRedis,
        carry: Callable[[dict[Any, Any], bytes], Awaitable[None]],
        *,
        concurrency: int,
    ) -> None:
        super().__init__(
            [_function(kind.__name__, carry) for kind in get_args(AnyMessage)],
            queue_name=QUEUE,
            redis_pool=redis,
            handle_signals=False,
            max_jobs=concurrency,
            job_timeout=TASK_LIMIT,
            keep_result=0,
            # Only a cancelled message is sent again, at once, to whoever is left when a worker stops.
            # A failed one is not ARQ's to repeat: its row says when it is due, and the sweep rings.
            retry_jobs=True,
            max_tries=MOST_TRIES,
            log_results=False,
            job_serializer=_serialize,
            job_deserializer=msgspec.msgpack.decode,
        )
        self.stopping = False
        self._place_free = asyncio.Event()

    async def main(self) -> None:
        self.ctx["redis"] = self.pool
        while not self.stopping:
            self._place_free.clear()
            await self._poll_iteration()
            if self.job_counter < self.max_jobs:
                # Its type leaves the asynchronous answer and fractions of a second out.
                blpop = cast("Callable[..., Awaitable[object]]", self.pool.blpop)  # pyright: ignore[reportUnknownMemberType]
                await blpop([WAKE], timeout=LOOK_EVERY_S)
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._place_free.wait(), LOOK_EVERY_S)

    def _release_sem_dec_counter_on_complete(self) -> None:
        super()._release_sem_dec_counter_on_complete()
        self._place_free.set()


async def _serve_for_ever(worker: WakeWorker) -> None:
    while not worker.stopping:
        try:
            await worker.main()
        except (RedisError, OSError) as exc:
            log.warning("queue.unavailable", queue="arq", error=type(exc).__name__)
            await asyncio.sleep(RECONNECT_AFTER_S)


def _connect(url: str) -> ArqRedis:
    # The socket's limit is above BLPOP's, or every idle second would be an error.
    return ArqRedis.from_url(  # pyright: ignore[reportUnknownMemberType] - its keywords are untyped
        url, socket_connect_timeout=2, socket_timeout=LOOK_EVERY_S + 5
    )


def _serialize(value: dict[str, Any]) -> bytes:
    return msgspec.msgpack.encode(value)


def _function(name: str, carry: Callable[[dict[Any, Any], bytes], Awaitable[None]]) -> Function:
    return func(cast(Any, carry), name=name)


@contextlib.asynccontextmanager
async def _translated():  # noqa: ANN202 - pyright infers the iterator
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            yield
    except (RedisError, OSError, TimeoutError) as exc:
        raise QueueUnavailableError from exc
