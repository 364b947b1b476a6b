"""Opens what both services stand on: database, queue, stores and providers."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import msgspec

from kroma.addresses import wrong_redis_url
from kroma.config import Settings, SettingsError
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.db.schema import check_revision, find_revision
from kroma.db.wait_for_database import wait_for_answer
from kroma.providers import open_providers
from kroma.providers.base import Provider
from kroma.queue.base import TaskQueue
from kroma.secrets.keyring import Keyring
from kroma.secrets.service import check_secrets_open
from kroma.storage.base import ProjectStores
from kroma.storage.directory import DirectoryStores
from kroma.storage.errors import StoreCredentialsError, StoreUnavailableError


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """The opened outside world of a service."""

    settings: Settings
    db: Database
    queue: TaskQueue
    stores: ProjectStores
    keyring: Keyring
    cpu: CpuPool
    providers: Mapping[str, Provider]
    """By code; the API asks them for prices, the worker for pictures."""


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncGenerator[Resources]:
    """Open everything; nothing is asked yet, and connections are made on first use.

    Raises:
        SettingsError: An address is missing or wrong.
    """
    if settings.database_url is None:
        raise SettingsError(
            "KROMA_DATABASE_URL is not set; `kroma up` starts a private PostgreSQL and sets it"
        )
    keyring = Keyring(settings.master_key)
    db = Database.connect(settings.database_url)
    queue = _queue(settings, db)
    cpu = CpuPool(settings.cpu_processes)
    providers = open_providers(cpu, settings)
    try:
        async with open_stores(settings) as stores:
            yield Resources(
                settings=settings,
                db=db,
                queue=queue,
                stores=stores,
                keyring=keyring,
                cpu=cpu,
                providers=providers,
            )
    finally:
        for provider in providers.values():
            await provider.close()
        await cpu.close()
        await queue.close()
        await db.close()


def directory_stores(settings: Settings) -> DirectoryStores:
    """Where projects keep their files on this machine's disk."""
    kept = [settings.master_key.file]
    with suppress(OSError):  # the private database lies elsewhere only where its account needs it
        kept.append(Path((settings.data_dir / "postgres.location").read_text().strip()).parent)
    return DirectoryStores(settings.data_dir, allow_any_root=settings.allow_any_root, kept=kept)


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncGenerator[ProjectStores]:
    """Where projects keep their files; a bucket is not asked anything yet.

    Raises:
        SettingsError: The bucket's profile or region cannot be used.
    """
    store = settings.store
    if not store.is_hosted:
        yield directory_stores(settings)
        return
    from kroma.storage.s3 import S3Stores  # noqa: PLC0415 - only the chosen one costs memory

    stores = S3Stores(store.bucket, store.prefix, store.access)
    try:
        await stores.prepare()
    except StoreCredentialsError as exc:
        raise SettingsError(f"KROMA_S3_PROFILE cannot be used: {exc.message}") from exc
    except StoreUnavailableError as exc:
        problem = "KROMA_S3_REGION is not set, and the region from AWS_* or the profile cannot be used"
        raise SettingsError(f"{problem}: {exc.reason}") from exc
    try:
        yield stores
    finally:
        await stores.close()


async def await_database(resources: Resources) -> None:
    """Wait until the database answers, and see that this version can work on it.

    Raises:
        SettingsError: The database refuses us, or a key of stored secrets is wrong.
        WrongSchemaError: Its schema is not the one that this version needs.
    """
    db, url = resources.db, resources.settings.database_url or ""
    check_revision(await wait_for_answer(partial(find_revision, db), url=url))
    await wait_for_answer(partial(check_secrets_open, db, resources.keyring), url=url)


def _queue(settings: Settings, db: Database) -> TaskQueue:
    if settings.queue == "postgres":
        from kroma.queue.postgres import PostgresTaskQueue  # noqa: PLC0415 - only the chosen one costs memory

        return PostgresTaskQueue(db)
    if settings.redis_url is None:
        raise SettingsError(
            "KROMA_REDIS_URL is not set; `kroma up` starts a private Valkey, "
            "and KROMA_QUEUE=postgres needs none"
        )
    from kroma.queue.arq import ArqTaskQueue  # noqa: PLC0415 - only the chosen one costs memory

    try:
        return ArqTaskQueue(settings.redis_url)
    except ValueError as exc:
        raise wrong_redis_url("KROMA_REDIS_URL") from exc
