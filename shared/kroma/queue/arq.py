"""The queue on Redis, by ARQ; the only module of the library that knows it.

ARQ as it comes polls every half second, and takes a message in six round trips. Here a message that is
due at once travels on a list that the worker waits on, and is begun in one of ARQ's places as soon as it
is popped; one that is due later travels as an ARQ job (docs/decisions/0005).
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import timedelta
from time import monotonic, time
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
from kroma.queue.messages import AnyMessage, encode, readable

log = structlog.get_logger(__name__)

QUEUE: Final = "kroma:queue"
"""ARQ's: what is due later."""
MESSAGES: Final = "kroma:messages"
"""The wake list: what is due now, the oldest first."""
MOST_MESSAGES: Final = 100_000
"""Beyond so many the sweep is enough: they are hints."""
LOOK_EVERY_S: Final = 1.0
"""For messages that were due later."""
RECONNECT_AFTER_S: Final = 1.0
SOCKET_LIMIT_S: Final = LOOK_EVERY_S + 2
"""Above what BLPOP waits, or every idle second would be an error."""
ANSWER_WITHIN_S: Final = 0.5
"""A slow Redis must not hold a trigger: the rows are committed, the sweep finds them."""
TRY_AGAIN_AFTER_S: Final = 1.0
"""After a Redis that did not answer is not asked for so long: only one caller a second waits for it."""
EXPIRES: Final = timedelta(days=1)
MOST_TRIES: Final = 1_000
"""ARQ drops a message whose tries are spent; ours are counted in the job's row."""
TASK_LIMIT: Final = timedelta(hours=6)
"""ARQ wants a limit of its own; the real ones are the tasks' (kroma_worker.registry)."""

logging.getLogger("arq").setLevel(logging.WARNING)


class ArqTaskQueue:
    """Messages are msgpack; no result is kept."""

    def __init__(self, url: str, *, answer_within_s: float = ANSWER_WITHIN_S) -> None:
        self._url = url
        self._redis = _connect(url)
        self._answer_within_s = answer_within_s
        self._silent_until = 0.0

    async def enqueue_many(self, messages: Sequence[AnyMessage], *, delay: timedelta = timedelta()) -> None:
        if not messages:
            return
        async with self._answering():
            if delay > timedelta():
                async with self._redis.pipeline(transaction=True) as pipe:
                    self._add_late(pipe, messages, delay)
                    await pipe.execute()
            else:
                await self._add_now(messages)

    async def depth(self) -> int:
        async with self._answering(), self._redis.pipeline(transaction=True) as pipe:
            pipe.zcard(QUEUE)
            pipe.llen(MESSAGES)
            return sum(map(int, await pipe.execute()))

    async def consume(self, handler: Handler, *, concurrency: int) -> None:
        slots = _WorkerSlots(handler, concurrency)
        redis = _connect(self._url)
        worker = WakeWorker(redis, slots, concurrency=concurrency)
        serving = asyncio.ensure_future(_serve_for_ever(worker))
        try:
            # Shielded, and stopped by a flag too: redis-py can swallow a cancellation that meets
            # one of its own time-outs, and would then serve on for ever.
            await asyncio.shield(serving)
        finally:
            worker.stopping = True
            slots.stop()
            serving.cancel()
            # ARQ ticks each message off behind its handler; closing under it would leak a connection.
            await asyncio.gather(serving, return_exceptions=True)
            await asyncio.gather(*worker.tasks.values(), *worker.begun, return_exceptions=True)
            with contextlib.suppress(QueueUnavailableError):
                await self.enqueue_many(slots.dropped)
            with contextlib.suppress(RedisError, OSError):
                await redis.aclose(close_connection_pool=True)

    async def close(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose(close_connection_pool=True)

    async def _add_now(self, messages: Sequence[AnyMessage]) -> None:
        # A bare command: a transaction around it would double what an idle worker waits for.
        rpush = cast("Callable[..., Awaitable[int]]", self._redis.rpush)  # pyright: ignore[reportUnknownMemberType]
        if await rpush(MESSAGES, *map(encode, messages)) > MOST_MESSAGES:
            ltrim = cast("Callable[..., Awaitable[object]]", self._redis.ltrim)  # pyright: ignore[reportUnknownMemberType]
            await ltrim(MESSAGES, 0, MOST_MESSAGES - 1)

    def _add_late(self, pipe: Any, messages: Sequence[AnyMessage], delay: timedelta) -> None:  # noqa: ANN401 - redis-py's pipeline is generic over what nobody names
        """What ArqRedis.enqueue_job does, for all at once; ids are new, so nothing needs watching."""
        now_ms = int(time() * 1000)
        delay_ms = int(delay.total_seconds() * 1000)
        for message in messages:
            job_id = uuid4().hex
            payload = serialize_job(
                type(message).__name__, (encode(message),), {}, None, now_ms, serializer=_serialize
            )
            pipe.psetex(job_key_prefix + job_id, delay_ms + int(EXPIRES.total_seconds() * 1000), payload)
            pipe.zadd(QUEUE, {job_id: now_ms + delay_ms})

    @contextlib.asynccontextmanager
    async def _answering(self) -> AsyncGenerator[None]:
        if monotonic() < self._silent_until:
            raise QueueUnavailableError
        try:
            async with asyncio.timeout(self._answer_within_s):
                yield
        except (RedisError, OSError, TimeoutError) as exc:
            self._silent_until = monotonic() + TRY_AGAIN_AFTER_S
            raise QueueUnavailableError from exc


class _WorkerSlots:
    """Carries messages, not more than allowed, and knows which were not carried to their end."""

    def __init__(self, handler: Handler, concurrency: int) -> None:
        self._handler = handler
        # Handlers outlive ARQ's bookkeeping when Redis goes away, so the bound is ours.
        self._slots = asyncio.Semaphore(concurrency)
        self._in_hand: set[asyncio.Task[Any] | None] = set()
        self._is_stopping = False
        self.dropped: list[AnyMessage] = []
        """What was taken and not carried to its end when it had to stop; somebody else's then."""

    async def carry(self, payload: bytes) -> None:
        message = readable(payload)
        if message is None:
            return
        if self._is_stopping:
            self.dropped.append(message)
            return
        task = asyncio.current_task()
        self._in_hand.add(task)
        try:
            async with self._slots:
                await self._handler(message)
        except asyncio.CancelledError:
            self.dropped.append(message)
            if not self._is_stopping:
                raise
            # Told to stop, and has: for ARQ any other end is a failure, with a traceback in the log.
        except Exception:
            log.exception("queue.handler_failed", task=type(message).__name__)
        finally:
            self._in_hand.discard(task)

    def stop(self) -> None:
        self._is_stopping = True
        for task in self._in_hand:
            if task is not None:
                task.cancel()


class WakeWorker(Worker):
    """An ARQ worker that waits on the wake list, or on a job's end when it is full."""

    def __init__(self, redis: ArqRedis, slots: _WorkerSlots, *, concurrency: int) -> None:
        async def carry(_: dict[Any, Any], payload: bytes) -> None:
            await slots.carry(payload)

        super().__init__(
            [_function(kind.__name__, carry) for kind in get_args(AnyMessage)],
            queue_name=QUEUE,
            redis_pool=redis,
            handle_signals=False,
            max_jobs=concurrency,
            job_timeout=TASK_LIMIT,
            keep_result=0,
            # What is canceled because the worker stops is sent again by us. A failed one is not
            # ARQ's to repeat: its row says when it is due, and the sweep finds it.
            retry_jobs=False,
            max_tries=MOST_TRIES,
            log_results=False,
            job_serializer=_serialize,
            job_deserializer=msgspec.msgpack.decode,
        )
        self.stopping = False
        self.begun: set[asyncio.Task[None]] = set()
        """Messages that came by the list, each in one of ARQ's places."""
        self._slots = slots
        self._slot_free = asyncio.Event()

    async def main(self) -> None:
        self.ctx["redis"] = self.pool
        # Its type leaves the asynchronous answer and fractions of a second out.
        blpop = cast("Callable[..., Awaitable[list[bytes] | None]]", self.pool.blpop)  # pyright: ignore[reportUnknownMemberType]
        look_at = monotonic()
        while not self.stopping:
            wait_s = look_at - monotonic()
            if wait_s <= 0:
                await self._poll_iteration()
                look_at = monotonic() + LOOK_EVERY_S
            elif self.job_counter < self.max_jobs:
                popped = await blpop([MESSAGES], timeout=wait_s)
                if popped is not None:
                    self._begin(popped[1])
            else:
                self._slot_free.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._slot_free.wait(), wait_s)

    def _begin(self, payload: bytes) -> None:
        self.job_counter += 1
        task = asyncio.ensure_future(self._slots.carry(payload))
        self.begun.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.begun.discard(task)
        self.job_counter -= 1
        self._slot_free.set()

    def _release_sem_dec_counter_on_complete(self) -> None:
        super()._release_sem_dec_counter_on_complete()
        self._slot_free.set()


async def _serve_for_ever(worker: WakeWorker) -> None:
    while not worker.stopping:
        try:
            await worker.main()
        except (RedisError, OSError) as exc:
            log.warning("queue.unavailable", queue="arq", error=type(exc).__name__)
            await asyncio.sleep(RECONNECT_AFTER_S)
        except Exception:
            # Whatever ARQ failed on: a broken queue must not end the worker.
            log.exception("queue.crashed", queue="arq")
            await asyncio.sleep(RECONNECT_AFTER_S)


def _connect(url: str) -> ArqRedis:
    return ArqRedis.from_url(  # pyright: ignore[reportUnknownMemberType] - its keywords are untyped
        url, socket_connect_timeout=2, socket_timeout=SOCKET_LIMIT_S
    )


def _serialize(value: dict[str, Any]) -> bytes:
    return msgspec.msgpack.encode(value)


def _function(name: str, carry: Callable[[dict[Any, Any], bytes], Awaitable[None]]) -> Function:
    return func(cast(Any, carry), name=name)
