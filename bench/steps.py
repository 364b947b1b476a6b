"""Job steps that one worker records per second, compared with a claim-and-complete loop in SQL.

Kroma runs jobs of one candidate, four at a time, through the real tasks: claim, five recorded steps
with their candidates and events, the end of the job and the run's log. The provider responds
immediately with the same small picture, and no scene was seen before. The raw side processes rows of a
simple table one after the other, over one connection: an UPDATE that claims the next with SKIP LOCKED
and an UPDATE that completes it, each in its own transaction.
"""

import asyncio
import io
import json
import os
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import asyncpg
import uvloop
from figures import line
from PIL import Image
from sqlalchemy import func, select
from stack import running_stack

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.leases.renewer import LeaseRenewer
from kroma.ledger.call_scheduler import CallScheduler
from kroma.logs import configure_logs
from kroma.pipeline.control.trigger import trigger_run
from kroma.pipeline.execution.wiring import WorkerContext
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.projects.service import ProjectDraft, upsert_project
from kroma.provider_accounts.access import no_access
from kroma.providers.base import EditRequest, EditResult
from kroma.providers.fake import FakeProvider
from kroma.runs.models import RunMode, RunStep
from kroma.storage.directory import DirectoryStores, resolve_root
from kroma_worker.registry import TaskDeps, dispatch
from kroma_worker.slots import WorkerSlots
from kroma_worker.tasks import runs as tasks
from style_references import style_reference
from support.doubles.memory_queue import MemoryTaskQueue

TARGET = 0.35
SCENES = 20
TASKS = (tasks,)  # importing the module registers them


class NoOpProvider(FakeProvider):
    """Responds immediately, always with the same picture."""

    def __init__(self) -> None:
        super().__init__()
        self._result: EditResult | None = None

    async def edit(self, request: EditRequest) -> EditResult:
        if self._result is None:
            self._result = await super().edit(request)
        return self._result


async def _raw_rate(url: str, count: int) -> float:
    """Rows that are claimed and completed per second."""
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
    """Kroma's worker, in this process."""

    def __init__(self, url: str, folder: Path, *, scenes: int) -> None:
        self._scenes = tuple(f"{number}.png" for number in range(scenes))
        self._round = 0
        self.db = Database.connect(url)
        self.settings = Settings.from_environment({"KROMA_PROVIDER": "fake"}, data_dir=folder)
        self.stores = DirectoryStores(folder, allow_any_root=False)
        self.cpu = CpuPool(2)
        self.queue = MemoryTaskQueue()
        self.providers = {"fake": NoOpProvider()}
        self.renewer = LeaseRenewer(url)
        context = WorkerContext(
            db=self.db,
            renewer=self.renewer,
            stores=self.stores,
            providers=self.providers,
            cpu=self.cpu,
            scheduler=CallScheduler(),
            load_access=no_access,
        )
        self.deps = TaskDeps(context=context, queue=self.queue, worker="bench", slots=WorkerSlots(4))

    async def open(self) -> None:
        await upsert_project(self.db, self.stores, ProjectDraft.checked(name="bench"), actor=None)
        resolve_root(self.settings.data_dir, "bench", None).mkdir(parents=True)

    def _draw_scenes(self) -> None:
        self._round += 1
        picture = Image.open(io.BytesIO(style_reference("noir ink", size=(64, 48)))).convert("RGB")
        root = resolve_root(self.settings.data_dir, "bench", None)
        for number, name in enumerate(self._scenes):
            picture.putpixel((0, 0), (self._round % 256, number, 0))
            picture.save(root / name)

    async def rate(self) -> float:
        """Steps per second of a run over new scenes, so that cached measurements do not help."""
        self._draw_scenes()
        spec = RunSpec(mode=RunMode.RUN, scene_refs=self._scenes, candidates=1)
        await trigger_run(
            self.db,
            self.queue,
            self.stores,
            self.settings,
            slug="bench",
            spec=spec,
            providers=self.providers,
            cpu=self.cpu,
        )
        messages, self.queue.messages = self.queue.messages, []
        before = await self._steps()
        began = time.perf_counter()
        await asyncio.gather(*(dispatch(self.deps, message) for message in messages))
        took = time.perf_counter() - began
        return (await self._steps() - before) / took

    async def close(self) -> None:
        await self.renewer.close()
        await self.cpu.close()
        await self.db.close()

    async def _steps(self) -> int:
        async with self.db.transaction() as session:
            return await session.scalar(select(func.count()).select_from(RunStep)) or 0


async def _compared(ours: Ours, url: str, rounds: int, bare_steps: int) -> list[tuple[float, float]]:
    """Milliseconds per step, of Kroma and of the raw side."""
    await ours.open()
    await ours.rate()  # starts the picture processes
    pairs: list[tuple[float, float]] = []
    for _ in range(rounds):
        raw_ms = 1000 / await _raw_rate(url, bare_steps)
        pairs.append((1000 / await ours.rate(), raw_ms))
    await ours.close()
    return pairs


def measure(*, smoke: bool = False) -> dict[str, Any]:
    """Compare medians; log lines are written as in a service, but to /dev/null."""
    rounds, bare_steps, scenes = (1, 10, 2) if smoke else (9, 1000, SCENES)
    with running_stack() as stack, Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        configure_logs()
        ours = Ours(stack.database_url, stack.folder, scenes=scenes)
        pairs = uvloop.run(_compared(ours, stack.database_url, rounds, bare_steps))
    found = line("steps", pairs, at_least=TARGET)
    return found | {"target": f">={TARGET} of its rate"}


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
