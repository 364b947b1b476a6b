"""A claim in tables with a million finished runs, compared with the same claim in empty tables."""

import json
import statistics
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import uvloop
from figures import line
from stack import running_stack

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.pipeline.control.trigger import trigger_run
from kroma.pipeline.execution.claim import claim_job
from kroma.pipeline.execution.sweep import list_due
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.projects.service import ProjectDraft, upsert_project
from kroma.providers.fake import FakeProvider
from kroma.queue.messages import ExecuteJob
from kroma.runs.models import RunMode
from kroma.storage.directory import DirectoryStores, resolve_root
from style_references import style_reference
from support.doubles.memory_queue import MemoryTaskQueue

TARGET = 1.10
ROUNDS = 200
SCENES = 20
BACKLOG = 1_000_000
PIECES = 20

# Rows like those of finished runs, without their million events.
_FILL = """
    WITH ended AS (
        INSERT INTO runs (id, project_id, run_mode, status, stage, candidates, plan_json, run_log_path,
                          fence, attempt, created_at, started_at, finished_at)
        SELECT gen_random_uuid(), $1, 'run', 'ok', 'style', 1, '{"version": 1}',
               'runs/' || gen_random_uuid(), 1, 1, now(), now(), now()
        FROM generate_series(1, $2::int) RETURNING id
    )
    INSERT INTO run_jobs (id, run_id, ordinal, job_key, status, fence, attempt, created_at, finished_at)
    SELECT gen_random_uuid(), id, 0, 'style_1_a', 'done', 1, 1, now(), now() FROM ended
"""


class Bench:
    """A project with jobs that are claimed but never run."""

    def __init__(self, url: str, folder: Path, *, rounds: int, backlog: int) -> None:
        self.url = url
        self._rounds = rounds
        self._backlog = backlog
        self.db = Database.connect(url)
        self.settings = Settings.from_environment({"KROMA_PROVIDER": "fake"}, data_dir=folder)
        self.stores = DirectoryStores(folder, allow_any_root=False)
        self.scenes = tuple(f"{number}.png" for number in range(SCENES))

    async def open(self) -> UUID:
        await upsert_project(self.db, self.stores, ProjectDraft.checked(name="bench"), actor=None)
        root = resolve_root(self.settings.data_dir, "bench", None)
        root.mkdir(parents=True)
        for name in self.scenes:
            (root / name).write_bytes(style_reference("noir ink", size=(64, 48)))
        connection = await asyncpg.connect(self.url)
        project_id = await connection.fetchval("SELECT id FROM projects")
        await connection.close()
        return project_id

    async def claims_ms(self) -> tuple[list[float], list[float]]:
        """Times of claims, and of the sweep's queries for due jobs."""
        connection = await asyncpg.connect(self.url)
        # Remove the jobs of earlier measurements.
        await connection.execute("DELETE FROM runs WHERE status IN ('queued', 'running')")
        await connection.execute("VACUUM ANALYZE run_jobs")
        await connection.close()
        claims: list[float] = []
        looks: list[float] = []
        while len(claims) < self._rounds:
            queue = MemoryTaskQueue()
            spec = RunSpec(mode=RunMode.RUN, scene_refs=self.scenes, candidates=1)
            await trigger_run(
                self.db,
                queue,
                self.stores,
                self.settings,
                slug="bench",
                spec=spec,
                providers={"fake": FakeProvider()},
                cpu=CpuPool(1),
            )
            for message in queue.messages:
                if not isinstance(message, ExecuteJob):
                    continue
                looks.append(await _timed_ms(list_due(self.db)))
                claims.append(await _timed_ms(claim_job(self.db, message.job_id, worker=str(uuid4()))))
        return claims, looks

    async def fill(self, project_id: UUID) -> None:
        connection = await asyncpg.connect(self.url)
        await connection.execute("SET session_replication_role = replica")
        for _ in range(PIECES):
            await connection.execute(_FILL, project_id, self._backlog // PIECES)
        await connection.execute("VACUUM ANALYZE runs")
        await connection.execute("VACUUM ANALYZE run_jobs")
        await connection.execute("CHECKPOINT")
        await connection.close()


async def _timed_ms(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return (time.perf_counter() - began) * 1000


Times = tuple[list[float], list[float]]


async def _compared(bench: Bench) -> tuple[Times, Times]:
    project_id = await bench.open()
    await bench.claims_ms()  # the warm-up
    before = await bench.claims_ms()
    await bench.fill(project_id)
    await bench.claims_ms()
    after = await bench.claims_ms()
    await bench.db.close()
    return before, after


def measure(*, smoke: bool = False) -> dict[str, Any]:
    """Compare medians before and after the tables were filled."""
    rounds, backlog = (SCENES, PIECES) if smoke else (ROUNDS, BACKLOG)
    with running_stack() as stack:
        bench = Bench(stack.database_url, stack.folder, rounds=rounds, backlog=backlog)
        before, after = uvloop.run(_compared(bench))
    found = line("claim with a million old runs", list(zip(after[0], before[0], strict=True)), at_most=TARGET)
    looks = {"before": statistics.median(before[1]), "after": statistics.median(after[1])}
    return found | {"look_ms": {when: round(took, 3) for when, took in looks.items()}}


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
