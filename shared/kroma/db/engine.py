"""The one way to a transaction."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final, Self, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - it ships none
import msgspec
from sqlalchemy import Engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.util import greenlet_spawn

from kroma.addresses import check_database_url, wrong_database_url
from kroma.config import SettingsError
from kroma.db.prepared import Prepared
from kroma.db.reader import Reader

CONNECT_WITHIN_S: Final = 10.0
_FILES: Final = ("sslrootcert", "sslcert", "sslkey")
PING_AFTER_S: Final = 30.0
"""A pooled connection that was idle for longer is asked before it is used."""

BEFORE_COMMIT: Final[ContextVar[Callable[[AsyncSession], Awaitable[None]] | None]] = ContextVar(
    "before_commit", default=None
)
"""The last thing to do in every transaction of a context; what it raises rolls the transaction back."""

_encoder = msgspec.json.Encoder()


def async_url(url: str) -> str:
    """``postgres://`` and ``postgresql://`` addresses, for asyncpg.

    Raises:
        SettingsError: The text is no address of a PostgreSQL.
    """
    check_database_url("KROMA_DATABASE_URL", url)
    return f"postgresql+asyncpg://{url.partition('://')[2]}"


def opener(url: str) -> Callable[[], Awaitable[Any]]:
    """What opens connections to an address, as ``async_creator`` of an engine.

    The driver reads the address as libpq does, so that ``sslmode`` and ``sslrootcert`` mean what providers
    of databases say they do; SQLAlchemy would hand them on as keywords that the driver does not have.
    """
    address = f"postgresql://{async_url(url).partition('://')[2]}"
    connect = cast("Callable[..., Awaitable[Any]]", asyncpg.connect)  # pyright: ignore[reportUnknownMemberType]
    return partial(connect, address, timeout=CONNECT_WITHIN_S, server_settings={"application_name": "kroma"})


def json_options() -> dict[str, Any]:
    """Keywords of ``create_async_engine`` that read and write ``jsonb`` with msgspec."""
    return {
        "json_serializer": lambda value: _encoder.encode(value).decode(),  # pyright: ignore[reportUnknownLambdaType]
        "json_deserializer": msgspec.json.decode,
    }


def _replace_dead_connections(engine: Engine, ping_after_s: float) -> None:
    """What ``pool_pre_ping`` does, without its round trip before every transaction.

    A connection whose server went away was told so by its socket; only one that was idle for long may
    have lost its peer in silence.
    """

    def returned(_: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        record.info["idle_since"] = monotonic()

    def taken(connection: DBAPIConnection, record: ConnectionPoolEntry, _: PoolProxiedConnection) -> None:
        driver: Any = record.driver_connection
        if driver.is_closed():
            raise DisconnectionError
        if monotonic() - record.info.get("idle_since", monotonic()) > ping_after_s:
            try:
                engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error as exc:
                raise DisconnectionError from exc

    event.listen(engine, "checkin", returned)
    event.listen(engine, "checkout", taken)


def _is_closed(pooled: PoolProxiedConnection) -> bool:
    driver: Any = pooled.driver_connection
    return driver.is_closed()


async def _give_back(pooled: PoolProxiedConnection) -> None:
    # One over the pool's size is closed for good here, which waits for the server.
    await greenlet_spawn(pooled.close)


class Database:
    """Opens short transactions; ``.commit(`` stands nowhere else."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        engine: AsyncEngine | None = None,
        *,
        keep: int = 0,
        ping_after_s: float = PING_AFTER_S,
    ) -> None:
        self._sessions = sessions
        self._engine = engine
        # A pool's checkout and return cost readers as much as a short statement does.
        self._kept: list[tuple[PoolProxiedConnection, float]] = []
        self._keep = keep
        self._ping_after_s = ping_after_s

    @classmethod
    def connect(cls, url: str, *, pool_size: int = 10, ping_after_s: float = PING_AFTER_S) -> Self:
        """A database behind a pool; nothing is opened before the first transaction.

        Raises:
            SettingsError: The text is no address of a PostgreSQL.
        """
        try:
            address = make_url(async_url(url))
        except (ArgumentError, ValueError) as exc:
            raise wrong_database_url("KROMA_DATABASE_URL") from exc
        for name in _FILES:
            path = address.query.get(name)
            if isinstance(path, str) and not Path(path).is_file():
                raise SettingsError(f"KROMA_DATABASE_URL names a file in {name} that does not exist: {path}")
        engine = create_async_engine(
            address,
            pool_size=pool_size,
            max_overflow=pool_size,
            hide_parameters=True,  # a failed statement is logged, and its values may be secrets
            async_creator=opener(url),
            **json_options(),
        )
        _replace_dead_connections(engine.sync_engine, ping_after_s)
        sessions = async_sessionmaker(engine, expire_on_commit=False)
        return cls(sessions, engine, keep=pool_size // 2, ping_after_s=ping_after_s)

    @classmethod
    def joined(cls, connection: AsyncConnection) -> Self:
        """A database inside the caller's open transaction, each of ours a savepoint (for tests)."""
        return cls(
            async_sessionmaker(connection, expire_on_commit=False, join_transaction_mode="create_savepoint")
        )

    @property
    def engine(self) -> AsyncEngine:
        """The pool, for what a session cannot do (COPY, LISTEN)."""
        if self._engine is None:
            msg = "a joined database has no engine of its own"
            raise RuntimeError(msg)
        return self._engine

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncSession, None]:
        """A session that commits at the end of the block, or rolls back if it raises."""
        async with self._sessions.begin() as session:
            yield session
            before_commit = BEFORE_COMMIT.get()
            if before_commit is not None:
                await session.flush()
                await before_commit(session)

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[Reader, None]:
        """A reader for a few statements, none of which waits for a transaction to open or close."""
        if self._engine is None:
            async with self.transaction() as session:
                joined = await (await session.connection()).get_raw_connection()
                yield Reader(joined.driver_connection)
            return
        pooled = await self._at_hand() or await self._engine.raw_connection()
        try:
            yield Reader(pooled.driver_connection)
        finally:
            if len(self._kept) < self._keep:
                self._kept.append((pooled, monotonic()))
            else:
                await _give_back(pooled)

    async def _at_hand(self) -> PoolProxiedConnection | None:
        """A connection that an earlier reader left, unless the pool had better look at it."""
        while self._kept:
            pooled, since = self._kept.pop()
            if monotonic() - since <= self._ping_after_s and not _is_closed(pooled):
                return pooled
            await _give_back(pooled)
        return None

    async def fetch(self, statement: Prepared, values: Mapping[str, object]) -> list[Any]:
        """Run one statement on the driver alone; it is a transaction of its own.

        Returns:
            Its rows, with columns by name as keys.
        """
        async with self.reading() as reader:
            return await reader.records(statement, **values)

    async def close(self) -> None:
        if self._engine is not None:
            while self._kept:
                await _give_back(self._kept.pop()[0])
            await self._engine.dispose()
