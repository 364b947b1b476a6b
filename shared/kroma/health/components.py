"""The parts that API and worker stand on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final
from uuid import UUID, uuid4

from kroma.db.connection_errors import DATABASE_TROUBLE
from kroma.db.engine import Database
from kroma.db.schema import find_revision, needed_revision
from kroma.errors import KromaError
from kroma.health.probe import Check, NotWellError, Probe, look_at
from kroma.queue.base import TaskQueue
from kroma.queue.errors import QueueUnavailableError
from kroma.storage.base import ProjectStores
from kroma.workers.queries import count_living

DATABASE: Final = "database"
MIGRATIONS: Final = "migrations"
QUEUE: Final = "queue"
STORE: Final = "store"
WORKER: Final = "worker"
STORE_STANDS_FOR_S: Final = 10.0
"""It is written to, which may cost money."""
_PROBE: Final = ".ready"
"""No project can have this slug."""


def parts_probes(
    db: Database, queue: TaskQueue, stores: ProjectStores, *, with_workers: bool = False
) -> list[Probe]:
    """What a service asks when it is asked whether it is ready.

    Args:
        with_workers: Whether the service counts on workers.
    """
    return [database_probe(db, with_workers=with_workers), queue_probe(queue), store_probe(stores)]


def database_probe(db: Database, *, with_workers: bool) -> Probe:
    """Database and schema, and for the API whether a worker lives; one question after the other."""
    names = (DATABASE, MIGRATIONS, *((WORKER,) if with_workers else ()))

    async def ask() -> AsyncIterator[Check]:
        answers = await look_at(DATABASE, _answers(db), DATABASE_TROUBLE)
        yield answers
        parts: dict[str, Callable[[Database], Awaitable[str]]] = {MIGRATIONS: _schema, WORKER: _workers}
        for name in names[1:]:
            if answers.ok:
                yield await look_at(name, parts[name](db), DATABASE_TROUBLE)
            else:
                yield Check(name=name, ok=False, detail="not known without the database", ms=0.0)

    return Probe(names, ask)


def queue_probe(queue: TaskQueue) -> Probe:
    """Redis, or the table that does its work."""

    async def ask() -> AsyncIterator[Check]:
        yield await look_at(QUEUE, _can_notify(queue))

    return Probe((QUEUE,), ask)


def store_probe(stores: ProjectStores) -> Probe:
    """Where pictures are kept."""

    async def ask() -> AsyncIterator[Check]:
        yield await look_at(STORE, _writes(stores), (OSError, KromaError))

    return Probe((STORE,), ask, stands_for_s=STORE_STANDS_FOR_S)


async def _answers(db: Database) -> str:
    await find_revision(db)
    return "answers"


async def _schema(db: Database) -> str:
    found, needed = await find_revision(db), needed_revision()
    if found != needed:
        raise NotWellError(f"schema {found or 'missing'}, needed {needed}")
    return f"schema {found}"


async def _workers(db: Database) -> str:
    living = await count_living(db)
    if not living.count:
        raise NotWellError("no worker was seen in the last 30 s")
    return f"{living.count} living, the last seen {living.seen_s:.0f} s ago"


async def _can_notify(queue: TaskQueue) -> str:
    try:
        waiting = await queue.depth()
    except QueueUnavailableError as exc:
        raise NotWellError("does not answer") from exc
    return f"answers, {waiting} messages waiting"


async def _writes(stores: ProjectStores) -> str:
    location = stores.locate(project_id=UUID(int=0), slug=_PROBE, storage=None)
    store = stores.open(location, real_root=await asyncio.to_thread(stores.resolve, location))
    key = f"ready/{uuid4().hex}"
    await store.put(key, b"ready")
    await store.delete([key])
    return f"{store.backend}, can be written"
