"""Alembic's environment: the address comes from ``kroma.migrations.run``, never from a file."""

import asyncio

import structlog
from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from kroma.db.engine import async_url, opener
from kroma.tables import metadata

# A migration that waits for a lock blocks every query behind it; better to fail and be run again.
LOCK_TIMEOUT = "5s"
# Of two migrators one waits, as long as it takes: any constant number serves.
MIGRATION_LOCK = 7_305_110_211

log = structlog.get_logger(__name__)


def migrate(connection: Connection) -> None:
    """Run the migrations on an open connection."""
    context.configure(
        connection=connection, target_metadata=metadata, compare_type=True, compare_server_default=True
    )
    with context.begin_transaction():
        # Whatever the server's defaults are: waiting for the other must not be cut short.
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        if not connection.scalar(text(f"SELECT pg_try_advisory_xact_lock({MIGRATION_LOCK})")):
            log.info("migration.waiting", reason="another migrator is at work")
            connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        context.run_migrations()


async def online() -> None:
    """Connect and migrate."""
    url = context.config.attributes["database_url"]
    engine = create_async_engine(async_url(url), poolclass=pool.NullPool, async_creator=opener(url))
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
        await connection.commit()
    await engine.dispose()


asyncio.run(online())
