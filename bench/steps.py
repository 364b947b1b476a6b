"""Steps of jobs that one worker records a second, beside a bare claim-and-complete loop in SQL.

Ours carries jobs of one candidate, four at a time, through the real tasks: claim, five recorded steps
with their candidates and events, the job's end and the run's log; the provider answers at once with the
same small picture. The raw side takes rows of a plain table one after the other, over one connection:
an UPDATE that claims the next with SKIP LOCKED, an UPDATE that completes it, each a transaction.
"""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import asyncpg
import uvloop
from sqlalchemy import func, select
from stack import running_stack

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.imaging.style_cards import draw_reference
from kroma.ledger.desk import CallDesk
from kroma.pipeline.access import no_access
from kroma.pipeline.execute import Workplace
from kroma.pipeline.keeper import LeaseKeeper
from kroma.pipeline.order import RunOrder
from kroma.pipeline.trigger import trigger_run
from kroma.projects.service import ProjectDraft, upsert_project
from kroma.providers.base import EditRequest, EditResult
from kroma.providers.fake import FakeProvider
from kroma.queue.memory import MemoryTaskQueue
from kroma.runs.models import RunMode, RunStep
from kroma.storage.directory import DirectoryStores, resolve_root
from kroma_worker.hands import Hands
from kroma_worker.registry import TaskDeps, dispatch
from kroma_worker.tasks import runs as tasks

TARGET = 0.35
SCENES = 20
ROUNDS = 4
TASKS = (tasks,)  # importing the module registers them


class NoOpProvider(FakeProvider):
    """Answers at once, always with the same picture."""

    def __init__(self) -> None:
        super().__init__()
        self._result: EditResult | None = None

    async def edit(self, request: EditRequest) -> EditResult:
        if self._result is None:
            self._result = await super().edit(request)
        return self._result


async def _raw_rate(url: str, count: int) -> float:
    """Steps a second: one is a claim and its completion."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS bare "
        "(id bigint PRIMARY KEY, status text, fence bigint, lease timestamptz)"
    )
    await connection.execute("TRUNCATE bare")
    await connection.execute(
        "INSERT INTO bare SELECT n, 'queued', 0, NULL FROM generate_series(1, $1::int) AS n", count
    )
    claim = await connection.prepare(
        "UPDATE bare SET status = 'running', fence = fence + 1, lease = clock_timestamp() + interval '30 s' "
        "WHERE id = (SELECT id FROM bare WHERE status = 'queued' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) "
        "RETURNING id, fence"
    )
    complete = await connection.prepare("UPDATE bare SET status = 'done' WHERE id = $1 AND fence = $2")
    began = time.perf_counter()
    while (row := await claim.fetchrow()) is not None:
        await complete.fetch(*row)
    rate = count / (time.perf_counter() - began)
    await connection.close()
    return rate


class Ours:
    """A worker in this process."""

    def __init__(self, url: str, folder: Path) -> None:
        self.db = Database.connect(url)
        self.settings = Settings.from_environment({"KROMA_PROVIDER": "fake"}, data_dir=folder)
        self.stores = DirectoryStores(folder, allow_any_root=False)
        self.cpu = CpuPool(2)
        self.queue = MemoryTaskQueue()
        self.providers = {"fake": NoOpProvider()}
        self.keeper = LeaseKeeper(url)
        place = Workplace(
            db=self.db,
            keeper=self.keeper,
            stores=self.stores,
            providers=self.providers,
            cpu=self.cpu,
            desk=CallDesk(),
            load_access=no_access,
        )
        self.deps = TaskDeps(place=place, queue=self.queue, worker="bench", hands=Hands(4))

    async def open(self) -> None:
        await upsert_project(self.db, ProjectDraft.checked(name="bench"), actor=None)
        root = resolve_root(self.settings.data_dir, "bench", None)
        root.mkdir(parents=True)
        picture = draw_reference("noir ink", size=(64, 48))
        for number in range(SCENES):
            (root / f"{number}.png").write_bytes(picture)

    async def rate(self) -> float:
        scenes = tuple(f"{number}.png" for number in range(SCENES))
        order = RunOrder(mode=RunMode.RUN, scene_refs=scenes, candidates=1)
        await trigger_run(
            self.db,
            self.queue,
            self.stores,
            self.settings,
            slug="bench",
            order=order,
            providers=self.providers,
        )
        messages, self.queue.messages = self.queue.messages, []
        before = await self._steps()
        began = time.perf_counter()
        await asyncio.gather(*(dispatch(self.deps, message) for message in messages))
        took = time.perf_counter() - began
        return (await self._steps() - before) / took

    async def close(self) -> None:
        await self.keeper.close()
        await self.cpu.close()
        await self.db.close()

    async def _steps(self) -> int:
        async with self.db.transaction() as session:
            return await session.scalar(select(func.count()).select_from(RunStep)) or 0


async def _compared(url: str, folder: Path) -> tuple[list[float], list[float]]:
    ours = Ours(url, folder)
    await ours.open()
    await ours.rate()  # the picture processes start
    rates: list[float] = []
    raw: list[float] = []
    for _ in range(ROUNDS):
        raw.append(await _raw_rate(url, 1000))
        rates.append(await ours.rate())
    await ours.close()
    return rates, raw


def measure() -> dict[str, Any]:
    """The best of three rounds each: a busy machine only takes away."""
    with running_stack() as stack:
        ours, raw = uvloop.run(_compared(stack.database_url, stack.folder))
    ratio = max(ours) / max(raw)
    return {
        "name": "steps",
        "ours_ms": round(1000 / max(ours), 3),
        "raw_ms": round(1000 / max(raw), 3),
        "ratio": round(ratio, 2),
        "target": f">={TARGET} of its rate",
        "ok": ratio >= TARGET,
        "per_s": {"ours": round(max(ours), 1), "raw": round(max(raw), 1)},
    }


def main() -> None:
    result = measure()
    print(f"{result['per_s']['ours']} recorded steps a second, {result['per_s']['raw']} bare ones")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
