"""Databases of the tests: copies of one migrated template."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar
from uuid import uuid4

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from kroma.db.engine import Database, async_url, json_options
from support.servers.postgres_and_valkey import TEMPLATE, Addresses

Result = TypeVar("Result")
# Triggers and foreign keys stay silent for a replica. Deleting costs a tenth of TRUNCATE on small tables.
_EMPTY: Final = """
DO $$
DECLARE name text;
BEGIN
    PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid();
    SET LOCAL session_replication_role = replica;
    FOR name IN SELECT oid::regclass::text FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'
    LOOP
        EXECUTE 'DELETE FROM ' || name;
    END LOOP;
    FOR name IN SELECT oid::regclass::text FROM pg_class
        WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace
    LOOP
        PERFORM setval(name, 1, false);
    END LOOP;
END $$
"""
# The newest row of each catalog and their number; the owner; the migration; settings of the database.
_SCHEMA: Final = """
SELECT concat_ws(' ',
    (SELECT concat(count(*), '/', max(xmin::text::bigint)) FROM pg_attribute),
    (SELECT concat(count(*), '/', max(xmin::text::bigint)) FROM pg_constraint),
    (SELECT concat(count(*), '/', max(xmin::text::bigint)) FROM pg_index),
    (SELECT concat(count(*), '/', max(xmin::text::bigint)) FROM pg_proc),
    (SELECT concat(count(*), '/', max(xmin::text::bigint)) FROM pg_trigger),
    (SELECT concat(count(*), '/', max(xmin::text::bigint)) FROM pg_type),
    (SELECT concat(count(*), '/', max(xmin::text::bigint)) FROM pg_namespace),
    (SELECT string_agg(concat(relname, relowner, relacl), ' ' ORDER BY oid) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace),
    (SELECT concat(xmin, datdba, datacl) FROM pg_database WHERE datname = current_database()),
    (SELECT count(*) FROM pg_db_role_setting WHERE setdatabase <> 0),
    (SELECT string_agg(version_num, ' ') FROM alembic_version))
"""


def copied(addresses: Addresses, template: str = TEMPLATE) -> Iterator[str]:
    """The URL of a database without a row, migrated unless it has another template; dropped afterwards."""
    url = _copy(addresses, template)
    yield url
    _drop(url)


class EmptyDatabases:
    """Migrated databases without a row, each emptied and lent again: a copy takes ten times as long.

    One whose schema a test changed is dropped.
    """

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._free: list[tuple[str, str]] = []

    def lent(self) -> Iterator[str]:
        """The URL of one that nobody else has until the generator goes on."""
        url, schema = self._free.pop() if self._free else self._made()
        yield url
        if _in_a_thread(_emptied(url)) == schema:
            self._free.append((url, schema))
        else:
            _drop(url)

    def close(self) -> None:
        for url, _ in self._free:
            _drop(url)

    def _made(self) -> tuple[str, str]:
        url = _copy(self._addresses, TEMPLATE)
        return url, _in_a_thread(_emptied(url))


@asynccontextmanager
async def pooled(url: str) -> AsyncGenerator[AsyncEngine]:
    """An engine for the many tests of one event loop: a server process that is new to the tables is slow."""
    engine = create_async_engine(async_url(url), pool_size=1, pool_pre_ping=True, **json_options())
    yield engine
    await engine.dispose()


@asynccontextmanager
async def rolled_back(engine: AsyncEngine) -> AsyncGenerator[Database]:
    """A database inside one transaction, of which nothing stays."""
    async with engine.connect() as connection:
        transaction = await connection.begin()
        yield Database.joined(connection)
        await transaction.rollback()


def _copy(addresses: Addresses, template: str) -> str:
    url, name = addresses.database_url, f"kroma_{uuid4().hex}"
    _in_a_thread(_statement(url, f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY'))
    return _database(url, name)


def _drop(url: str) -> None:
    _in_a_thread(_statement(url, f'DROP DATABASE "{url.rpartition("/")[2]}" WITH (FORCE)'))


def _in_a_thread(work: Coroutine[Any, Any, Result]) -> Result:
    # Fixtures without a loop may run while pytest-asyncio holds one in this thread.
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(work))
        except BaseException as exc:  # noqa: BLE001 - raised again below, in the caller's thread
            errors.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


async def _statement(url: str, sql: str) -> None:
    connection = await asyncpg.connect(_database(url, "postgres"))
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def _emptied(url: str) -> str:
    """Ends whoever is connected and deletes every row; tells what the schema is now."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_EMPTY)
        return await connection.fetchval(_SCHEMA)
    finally:
        await connection.close()


def _database(url: str, name: str) -> str:
    return f"{url.rpartition('/')[0]}/{name}"
