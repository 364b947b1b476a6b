"""From a trigger's commit to the first step on an idle worker, compared with a NOTIFY after a commit.

Kroma notifies a worker in another process through Redis; the worker claims the job and starts its first
step. The raw side is one NOTIFY, and a listener in another process that records its arrival.
"""

import asyncio
import json
import multiprocessing
import time
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from typing import Any

import asyncpg
import uvloop
from figures import line, p95
from sqlalchemy import func, select
from stack import Stack, running_stack, running_worker

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.pipeline.control.trigger import trigger_run
from kroma.pipeline.control.wait import wait_for_end
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.projects.service import ProjectDraft, upsert_project
from kroma.providers.fake import FakeProvider
from kroma.queue.arq import ArqTaskQueue
from kroma.queue.base import TaskQueue
from kroma.queue.messages import ExecuteJob
from kroma.runs.models import Run, RunJob, RunMode, RunStep
from kroma.storage.directory import DirectoryStores, resolve_root
from style_references import style_reference
from support.doubles.memory_queue import MemoryTaskQueue

TARGET = 6.0
PROVIDERS = {"fake": FakeProvider()}


async def _picked_up_ms(db: Database, queue: TaskQueue, settings: Settings, spec: RunSpec) -> float:
    stores = DirectoryStores(settings.data_dir, allow_any_root=False)
    # The workers are notified here instead of by the trigger, so that the clock starts at the commit.
    run = await trigger_run(
        db,
        MemoryTaskQueue(),
        stores,
        settings,
        slug="bench",
        spec=spec,
        providers={"fake": FakeProvider()},
        cpu=CpuPool(1),
    )
    committed = datetime.now(UTC)
    await queue.enqueue_many([ExecuteJob(job_id=job.id) for job in run.jobs])
    await wait_for_end(db, run.id, timeout=timedelta(seconds=30))
    return (await first_step_at(db, run) - committed).total_seconds() * 1000


async def first_step_at(db: Database, run: Run) -> datetime:
    """When the first step of a run started."""
    async with db.transaction() as session:
        first = await session.scalar(
            select(func.min(RunStep.started_at))
            .join(RunJob, RunJob.id == RunStep.job_id)
            .where(RunJob.run_id == run.id)
        )
    if first is None:
        msg = "the worker recorded no step"
        raise RuntimeError(msg)
    return first


async def _listen(url: str, arrivals: Connection) -> None:
    connection = await asyncpg.connect(url)
    await connection.add_listener("bench", lambda *_: arrivals.send(time.time()))
    arrivals.send("listening")
    await asyncio.Event().wait()


def _listener(url: str, arrivals: Connection) -> None:
    uvloop.run(_listen(url, arrivals))


async def _notified_ms(sender: asyncpg.Connection, arrivals: Connection) -> float:
    async with sender.transaction():
        await sender.execute("INSERT INTO queue_messages (payload) VALUES ('x')")
    committed = time.time()
    await sender.execute("NOTIFY bench")
    return (await asyncio.to_thread(arrivals.recv) - committed) * 1000


async def _compared(stack: Stack, rounds: int, warm_up: int) -> list[tuple[float, float]]:
    settings = Settings.from_environment({"KROMA_PROVIDER": "fake"}, data_dir=stack.folder)
    db, queue = Database.connect(stack.database_url), ArqTaskQueue(stack.redis_url)
    await upsert_project(
        db,
        DirectoryStores(stack.folder, allow_any_root=False),
        ProjectDraft.checked(name="bench"),
        actor=None,
    )
    root = resolve_root(stack.folder, "bench", None)
    root.mkdir(parents=True)
    (root / "scene.png").write_bytes(style_reference("noir ink", size=(160, 200)))
    spec = RunSpec(mode=RunMode.RUN, scene_refs=("scene.png",), candidates=1)
    sender = await asyncpg.connect(stack.database_url)
    arrivals, theirs = multiprocessing.Pipe(duplex=False)
    spawned = multiprocessing.get_context("spawn").Process(
        target=_listener, args=(stack.database_url, theirs), daemon=True
    )
    spawned.start()
    await asyncio.to_thread(arrivals.recv)
    pairs = [
        (await _picked_up_ms(db, queue, settings, spec), await _notified_ms(sender, arrivals))
        for _ in range(rounds + warm_up)
    ]
    spawned.terminate()
    await asyncio.gather(sender.close(), queue.close(), db.close())
    return pairs[warm_up:]


def measure(*, smoke: bool = False) -> dict[str, Any]:
    """Compare 95th percentiles on private servers with one worker."""
    # PostgreSQL replans a prepared statement five times before it reuses a plan.
    rounds, warm_up = (1, 1) if smoke else (100, 10)
    with running_stack() as stack, running_worker(stack, KROMA_PROVIDER="fake"):
        pairs = uvloop.run(_compared(stack, rounds, warm_up))
    return line("pickup", pairs, at_most=TARGET, of=p95)


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
