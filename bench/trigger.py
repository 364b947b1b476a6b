"""The trigger of four scenes with its commit, compared with an asyncpg insert of the same rows.

Kroma looks up the project, reads settings and the ends of the six pictures from disk, plans, inserts,
commits and notifies a queue in memory. The raw side has the values ready and inserts them in one
transaction, over its own connection to the same server.
"""

import asyncio
import io
import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import numpy as np
import uvloop
from figures import line, p95
from PIL import Image
from stack import running_stack

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.pipeline.control.trigger import trigger_run
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.projects.service import ProjectDraft, upsert_project
from kroma.providers.local import LocalProvider
from kroma.runs.models import Run, RunJob, RunMode
from kroma.storage.directory import DirectoryStores, resolve_root
from support.doubles.memory_queue import MemoryTaskQueue

WIDTH, HEIGHT = 768, 512
SCENES = tuple(f"scenes/{n}.png" for n in range(4))
STYLES = ("references/ink.png", "references/line.png")
TARGET = 3.0


def _draw(root: Path) -> None:
    random = np.random.default_rng(0)
    for name in (*SCENES, *STYLES):
        buffer = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(buffer, "PNG")
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(buffer.getvalue())


def _columns(row: Run | RunJob) -> dict[str, Any]:
    """The values that an insert of the row sends, in the driver's types."""
    set_here = {
        column.key: vars(row)[column.key] for column in row.__table__.columns if column.key in vars(row)
    }
    return {
        name: msgspec.json.encode(value).decode() if name.endswith("_json") else value
        for name, value in set_here.items()
    }


def _insert(table: str, columns: dict[str, Any]) -> str:
    slots = ", ".join(f"${n}" for n in range(1, len(columns) + 1))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({slots})"


class Raw:
    """Inserts the rows of a run, and does nothing else."""

    def __init__(self, connection: asyncpg.Connection, run: Run) -> None:
        self._connection = connection
        self._run = _columns(run)
        self._jobs = [_columns(job) for job in run.jobs]
        self._insert_run = _insert("runs", self._run)
        self._insert_job = _insert("run_jobs", self._jobs[0])

    async def once_ms(self) -> float:
        run_id = uuid4()
        run = [*(self._run | {"id": run_id, "run_log_path": f"runs/run_{run_id}.json"}).values()]
        jobs = [[*(job | {"id": uuid4(), "run_id": run_id}).values()] for job in self._jobs]
        started = time.perf_counter()
        async with self._connection.transaction():
            await self._connection.execute(self._insert_run, *run)
            await self._connection.executemany(self._insert_job, jobs)
        return (time.perf_counter() - started) * 1000


class Ours:
    """Triggers runs like the API."""

    def __init__(self, db: Database, data_dir: Path) -> None:
        self._db = db
        self._queue = MemoryTaskQueue()
        self._stores = DirectoryStores(data_dir, allow_any_root=False)
        self._settings = Settings.from_environment({}, data_dir=data_dir)
        self._providers = {"local": LocalProvider(CpuPool(1))}
        self.spec = RunSpec(mode=RunMode.RUN, scene_refs=SCENES, style_refs=STYLES, candidates=2)

    async def run(self) -> Run:
        self._queue.messages.clear()
        return await trigger_run(
            self._db,
            self._queue,
            self._stores,
            self._settings,
            slug="bench",
            spec=self.spec,
            providers=self._providers,
            cpu=CpuPool(1),
        )

    async def once_ms(self) -> float:
        started = time.perf_counter()
        await self.run()
        return (time.perf_counter() - started) * 1000


async def _compared(url: str, data_dir: Path, rounds: int, warm_up: int) -> list[tuple[float, float]]:
    db, connection = Database.connect(url), await asyncpg.connect(url)
    project = (
        await upsert_project(
            db,
            DirectoryStores(data_dir, allow_any_root=False),
            ProjectDraft.checked(name="bench"),
            actor=None,
        )
    ).project
    await asyncio.to_thread(_draw, resolve_root(data_dir, project.slug, None))
    ours = Ours(db, data_dir)
    raw = Raw(connection, await ours.run())
    for _ in range(warm_up):
        await ours.once_ms()
        await raw.once_ms()
    # Alternating, so that a busy machine slows both.
    pairs = [(await ours.once_ms(), await raw.once_ms()) for _ in range(rounds)]
    await connection.close()
    await db.close()
    return pairs


def measure(*, smoke: bool = False) -> dict[str, Any]:
    """Compare 95th percentiles on a private server."""
    warm_up, rounds = (1, 1) if smoke else (20, 300)
    with running_stack() as stack:
        pairs = uvloop.run(_compared(stack.database_url, stack.folder, rounds, warm_up))
    return line("trigger", pairs, at_most=TARGET, of=p95)


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
