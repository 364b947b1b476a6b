"""What happens to a run, one row after the other: writing, reading and waiting for the next."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from contextvars import Context
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import ARRAY, BigInteger, Integer, Uuid, any_, bindparam, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.db.reader import Query, RowMapper
from kroma.errors import PolicyError
from kroma.runs.models import OPEN_RUN_STATUSES, Run, RunEvent
from kroma.shares import SharedLimit, current_share

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LOOK_EVERY: Final = timedelta(milliseconds=250)
MAX_WATCHERS: Final = 2000
"""Readers that one process serves at a time; half of them are the most of one caller."""

_events = RowMapper(RunEvent)
_AFTER: Final = Query(
    _events,
    _events.statement.where(
        RunEvent.run_id == bindparam("run_id"), RunEvent.seq > bindparam("seq", type_=BigInteger())
    )
    .order_by(RunEvent.seq)
    .limit(bindparam("limit", type_=Integer())),
)
_REVISIONS: Final = Prepared(
    select(Run.id, Run.revision).where(Run.id == any_(bindparam("runs", type_=ARRAY(Uuid()))))
)


class TooManyWatchersError(PolicyError):
    """This process serves as many readers of events as it takes, or as it takes of one caller."""

    code = "too_many_watchers"
    text = "Too many event streams are open; poll the list or retry later"


async def write_event(session: AsyncSession, run_id: UUID, kind: str, data: Mapping[str, Any]) -> None:
    """Write an event of the kind ``step`` or ``notice``, which also raises the run's revision.

    It locks the run's row: whoever also locks a job of it does that before.
    """
    await session.execute(select(func.kroma_run_event(run_id, kind, literal(dict(data), JSONB()))))


async def list_events(db: Database, run_id: UUID, *, after: int, limit: int) -> list[RunEvent]:
    """The events behind a number, oldest first."""
    async with db.reading() as reader:
        return await _AFTER.all(reader, run_id=run_id, seq=after, limit=limit)


def ends_run(event: RunEvent) -> bool:
    """Whether the run's status does not change after this event."""
    if event.kind != "run":
        return False
    status = msgspec.json.decode(msgspec.json.encode(event.data_json)).get("status")
    return status is not None and status not in OPEN_RUN_STATUSES


class Watcher:
    """One reader's place at a run."""

    def __init__(self, run_id: UUID) -> None:
        self.run_id = run_id
        self.is_over = False
        """The run is gone, or the reader shall go."""
        self.woken = asyncio.Event()

    def end(self) -> None:
        self.is_over = True
        self.woken.set()


class RunWatch:
    """Tells the readers of a process when their runs have moved.

    One look at the table serves all of them, and nothing looks while nobody reads. A reader that is
    slow or dead holds no connection and keeps nobody waiting: it is woken, and reads when it can.
    """

    def __init__(self, db: Database, *, most: int = MAX_WATCHERS) -> None:
        self._db = db
        self._readers = SharedLimit(most)
        self._watchers: set[Watcher] = set()
        self._seen: dict[UUID, int] = {}
        self._looking: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def watching(self, run_id: UUID) -> AsyncGenerator[Watcher]:
        """A place at a run; it is woken at every change from now on.

        Raises:
            TooManyWatchersError: There is no place left for this caller.
        """
        share = current_share.get()
        if not self._readers.take(share):
            raise TooManyWatchersError
        watcher = Watcher(run_id)
        self._watchers.add(watcher)
        self._seen.pop(run_id, None)  # the first look wakes: it may have moved since it was read
        if self._looking is None:
            # In a context of its own: it outlives the request that happens to be the first.
            self._looking = asyncio.create_task(self._look_for_ever(), context=Context())
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
            self._readers.give_back(share)

    async def _look_for_ever(self) -> None:
        try:
            while self._watchers:
                await asyncio.sleep(LOOK_EVERY.total_seconds())
                try:
                    await self._look()
                except Exception as exc:  # noqa: BLE001 - whatever it is, the readers wait for its end
                    log.warning("watch.database_unavailable", error=type(exc).__name__)
        finally:
            self._seen = {}
            self._looking = None

    async def _look(self) -> None:
        watchers = list(self._watchers)
        runs = tuple({watcher.run_id for watcher in watchers})
        rows = await self._db.fetch(_REVISIONS, {"runs": runs})
        found: dict[UUID, int] = {row["id"]: row["revision"] for row in rows}
        for watcher in watchers:
            revision = found.get(watcher.run_id)
            if revision is None:
                watcher.end()
            elif revision != self._seen.get(watcher.run_id):
                watcher.woken.set()
        self._seen = found
