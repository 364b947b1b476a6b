"""Databases of the tests: copies of one migrated template."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from kroma.db.engine import Database, async_url, json_options
from servers import TEMPLATE, Addresses


def copied(addresses: Addresses, template: str = TEMPLATE) -> Iterator[str]:
    """The URL of a database without a row, migrated unless it has another template; dropped afterwards."""
    url, name = addresses.database_url, f"kroma_{uuid4().hex}"
    _in_a_thread(_statement(url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    yield _database(url, name)
    _in_a_thread(_statement(url, f'DROP DATABASE "{name}" WITH (FORCE)'))


def unpooled(url: str) -> AsyncEngine:
    """An engine for many tests: it remembers the statements it compiled, and keeps no connection."""
    return create_async_engine(async_url(url), poolclass=NullPool, **json_options())


@asynccontextmanager
async def rolled_back(engine: AsyncEngine) -> AsyncGenerator[Database]:
    """A database inside one transaction, of which nothing stays."""
    async with engine.connect() as connection:
        transaction = await connection.begin()
        yield Database.joined(connection)
        await transaction.rollback()


def _in_a_thread(work: Coroutine[Any, Any, None]) -> None:
    # Fixtures of session scope may run while pytest-asyncio holds a loop in this thread.
    errors: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as exc:  # noqa: BLE001 - raised again below, in the caller's thread
            errors.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


async def _statement(url: str, sql: str) -> None:
    connection = await asyncpg.connect(_database(url, "postgres"))
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def _database(url: str, name: str) -> str:
    return f"{url.rpartition('/')[0]}/{name}"
