"""Opens what both services stand on: database, queue and stores."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec

from kroma.config import Settings, SettingsError
from kroma.db.engine import Database
from kroma.queue.base import TaskQueue
from kroma.storage.base import ProjectStores
from kroma.storage.directory import DirectoryStores


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """The opened outside world of a service."""

    settings: Settings
    db: Database
    queue: TaskQueue
    stores: ProjectStores


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncGenerator[Resources]:
    """Open everything; connections are made on first use.

    Raises:
        SettingsError: An address is missing.
    """
    if settings.database_url is None:
        raise SettingsError(
            "KROMA_DATABASE_URL", "is not set; `kroma up` starts a private PostgreSQL and sets it"
        )
    db = Database.connect(settings.database_url)
    queue = _queue(settings, db)
    try:
        yield Resources(
            settings=settings,
            db=db,
            queue=queue,
            stores=DirectoryStores(settings.data_dir, allow_any_root=settings.allow_any_root),
        )
    finally:
        await queue.close()
        await db.close()


def _queue(settings: Settings, db: Database) -> TaskQueue:
    if settings.queue == "postgres":
        from kroma.queue.postgres import PostgresTaskQueue  # noqa: PLC0415 - only the chosen one costs memory

        return PostgresTaskQueue(db)
    if settings.redis_url is None:
        raise SettingsError(
            "KROMA_REDIS_URL",
            "is not set; `kroma up` starts a private Valkey, and KROMA_QUEUE=postgres needs none",
        )
    from kroma.queue.arq import ArqTaskQueue  # noqa: PLC0415 - only the chosen one costs memory

    return ArqTaskQueue(settings.redis_url)
