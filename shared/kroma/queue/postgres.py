"""A queue that needs PostgreSQL only: a table, and NOTIFY to wake workers."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, Protocol, cast

import structlog
from sqlalchemy import delete, func, insert, select, text

from kroma.db.connection_errors import DATABASE_TROUBLE
from kroma.db.engine import Database
from kroma.queue.base import Handler, serve
from kroma.queue.errors import QueueUnavailableError
from kroma.queue.messages import AnyMessage, encode, readable
from kroma.queue.models import QueueMessage

log = structlog.get_logger(__name__)

CHANNEL: Final = "kroma_queue"
LOOK_EVERY_S: Final = 1.0
"""For delayed messages, and for a NOTIFY that went missing with its connection."""
RECONNECT_AFTER_S: Final = 1.0


class PostgresTaskQueue:
    """Messages are rows; whoever deletes one carries it."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def enqueue_many(self, messages: Sequence[AnyMessage], *, delay: timedelta = timedelta()) -> None:
        if not messages:
            return
        due = func.clock_timestamp() + delay
        rows = [{"payload": encode(message), "available_at": due} for message in messages]
        try:
            async with self._db.transaction() as session:
                await session.execute(insert(QueueMessage).values(rows))
                await session.execute(text(f"NOTIFY {CHANNEL}"))
        except DATABASE_TROUBLE as exc:
            raise QueueUnavailableError from exc

    async def depth(self) -> int:
        try:
            async with self._db.transaction() as session:
                return await session.scalar(select(func.count()).select_from(QueueMessage)) or 0
        except DATABASE_TROUBLE as exc:
            raise QueueUnavailableError from exc

    async def consume(self, handler: Handler, *, concurrency: int) -> None:
        notified = asyncio.Event()
        listener = asyncio.ensure_future(self._listen(notified))

        async def take(limit: int) -> list[AnyMessage]:
            while True:
                notified.clear()
                if messages := await self._delete_due(limit):
                    return messages
                async with asyncio.timeout(LOOK_EVERY_S):
                    await notified.wait()

        async def take_patiently(limit: int) -> list[AnyMessage]:
            try:
                return await take(limit)
            except TimeoutError:
                return []
            except DATABASE_TROUBLE as exc:
                log.warning("queue.unavailable", queue="postgres", error=type(exc).__name__)
                await asyncio.sleep(RECONNECT_AFTER_S)
                return []

        try:
            await serve(take_patiently, handler, concurrency=concurrency)
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)

    async def close(self) -> None:
        """The database belongs to whoever opened it."""

    async def _delete_due(self, limit: int) -> list[AnyMessage]:
        due = (
            select(QueueMessage.id)
            .where(QueueMessage.available_at <= func.clock_timestamp())
            .order_by(QueueMessage.available_at, QueueMessage.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        async with self._db.transaction() as session:
            taken = delete(QueueMessage).where(QueueMessage.id.in_(due.scalar_subquery()))
            payloads = (await session.scalars(taken.returning(QueueMessage.payload))).all()
        messages = [readable(payload) for payload in payloads]
        return [message for message in messages if message is not None]

    async def _listen(self, notified: asyncio.Event) -> None:
        while True:
            try:
                async with self._listening(notified) as lost:
                    await lost.wait()
            except DATABASE_TROUBLE as exc:
                log.warning("queue.listener_lost", error=type(exc).__name__)
            await asyncio.sleep(RECONNECT_AFTER_S)

    @asynccontextmanager
    async def _listening(self, notified: asyncio.Event) -> AsyncGenerator[asyncio.Event]:
        """A connection held for its channel; the event says that it was lost."""
        lost = asyncio.Event()

        def on_notify(*_: object) -> None:
            notified.set()

        def on_lost(_: object) -> None:
            lost.set()

        async with self._db.engine.connect() as held:
            raw = await held.get_raw_connection()
            connection = cast(_Listener, raw.driver_connection)
            connection.add_termination_listener(on_lost)
            await connection.add_listener(CHANNEL, on_notify)
            notified.set()
            try:
                yield lost
            finally:
                if not connection.is_closed():
                    await connection.remove_listener(CHANNEL, on_notify)


class _Listener(Protocol):
    """What we use of asyncpg's connection."""

    def is_closed(self) -> bool: ...
    def add_termination_listener(self, callback: Callable[[object], None]) -> None: ...
    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None: ...
    async def remove_listener(self, channel: str, callback: Callable[..., None]) -> None: ...
