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

        async def carry(_: dict[Any, Any], payload: bytes) -> None:
            # Jobs outlive the worker object when Redis goes away, so the bound is ours, not ARQ's.
            async with places:
                await handler(decode(payload))

        carried: set[asyncio.Task[None]] = set()
        try:
            while True:
                worker = WakeWorker(_connect(self._url), carry, concurrency=concurrency, carried=carried)
                try:
                    await worker.main()
                except (RedisError, OSError) as exc:
                    log.warning("queue.unavailable", queue="arq", error=type(exc).__name__)
                finally:
                    with contextlib.suppress(RedisError, OSError):
                        await worker.pool.aclose(close_connection_pool=True)
                await asyncio.sleep(RECONNECT_AFTER_S)
        finally:
            for task in carried:
                task.cancel()
            await asyncio.gather(*carried, return_exceptions=True)

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
        carried: set[asyncio.Task[None]],
    ) -> None:
        super().__init__(
            [_function(kind.__name__, carry) for kind in get_args(AnyMessage)],
            queue_name=QUEUE,
            redis_pool=redis,
            handle_signals=False,
            max_jobs=concurrency,
            job_timeout=TASK_LIMIT,
            keep_result=0,
            max_tries=1,
            # A cancelled or failed message is not ARQ's to send again: its row is due, the sweep rings.
            retry_jobs=False,
            log_results=False,
            job_serializer=_serialize,
            job_deserializer=msgspec.msgpack.decode,
        )
        self._carried = carried
        self._place_free = asyncio.Event()

    async def main(self) -> None:
        self.ctx["redis"] = self.pool
        while True:
            self._place_free.clear()
            await self._poll_iteration()
            for task in self.tasks.values():
                self._carried.add(task)
                task.add_done_callback(self._forget)
            if self.job_counter < self.max_jobs:
                # Its type leaves the asynchronous answer and fractions of a second out.
                blpop = cast("Callable[..., Awaitable[object]]", self.pool.blpop)  # pyright: ignore[reportUnknownMemberType]
                await blpop([WAKE], timeout=LOOK_EVERY_S)
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._place_free.wait(), LOOK_EVERY_S)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._carried.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # ARQ could not tick the message off: it was carried, and carrying it again does nothing.
            log.warning("queue.not_ticked_off", error=type(error).__name__)

    def _release_sem_dec_counter_on_complete(self) -> None:
        super()._release_sem_dec_counter_on_complete()
        self._place_free.set()


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
