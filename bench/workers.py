"""Two workers with one picture process each, compared with one, on the same servers, with the local provider.

Both sides draw the same runs, from the first trigger to the last end: claims, drawing, checks, rank,
files, log and ingest. The ratio is how many times as many candidates two workers make in the same time.
The two cores also run both servers, so a ratio of two cannot be reached.
"""

import json
import time
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import msgspec
import uvloop
from figures import spread
from stack import Stack, running_stack, running_worker

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.pipeline.control.trigger import trigger_run
from kroma.pipeline.control.wait import wait_for_end
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.projects.service import ProjectDraft, upsert_project
from kroma.providers import open_providers
from kroma.queue.arq import ArqTaskQueue
from kroma.runs.models import Run, RunMode
from kroma.storage.directory import DirectoryStores, resolve_root
from style_references import style_reference

SLUG = "bench"
TARGET = 1.6
ENVIRONMENT = {"KROMA_CPU_PROCESSES": "1", "KROMA_PROVIDER": "local"}


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """How much is drawn."""

    runs: int
    scenes: int
    candidates: int
    size: tuple[int, int]

    @property
    def pictures(self) -> int:
        """The number of candidates of all runs."""
        return self.runs * self.scenes * self.candidates


WHOLE = Work(runs=2, scenes=4, candidates=3, size=(480, 640))
SMALL = Work(runs=1, scenes=1, candidates=1, size=(48, 64))


async def _draw(stack: Stack, work: Work) -> float:
    """Seconds from the first trigger to the last end, after a warm-up run."""
    settings = Settings.from_environment(ENVIRONMENT, data_dir=stack.folder)
    db, queue = Database.connect(stack.database_url), ArqTaskQueue(stack.redis_url)
    stores = DirectoryStores(stack.folder, allow_any_root=False)
    providers = open_providers(CpuPool(1), settings)
    await upsert_project(db, stores, ProjectDraft.checked(name=SLUG), actor=None)
    root = resolve_root(settings.data_dir, SLUG, None)
    root.mkdir(parents=True, exist_ok=True)
    scenes = tuple(f"scene_{number}.png" for number in range(work.scenes))
    for scene in scenes:
        (root / scene).write_bytes(style_reference("ink wash", size=work.size))
    spec = RunSpec(mode=RunMode.RUN, scene_refs=scenes, candidates=work.candidates)

    async def trigger() -> Run:
        return await trigger_run(
            db, queue, stores, settings, slug=SLUG, spec=spec, providers=providers, cpu=CpuPool(1)
        )

    async def wait(triggered: list[Run]) -> None:
        for run in triggered:
            await wait_for_end(db, run.id, timeout=timedelta(minutes=10))

    await wait([await trigger()])
    started = time.perf_counter()
    await wait([await trigger() for _ in range(work.runs)])
    took = time.perf_counter() - started
    await queue.close()
    await db.close()
    return took


def _with_workers(count: int, work: Work) -> float:
    with ExitStack() as opened:
        stack = opened.enter_context(running_stack())
        for _ in range(count):
            opened.enter_context(running_worker(stack, **ENVIRONMENT))
        return uvloop.run(_draw(stack, work))


def measure(*, smoke: bool = False) -> dict[str, Any]:
    """Alternate on private servers; the fastest round of each counts, since other load only slows it."""
    work, rounds = (SMALL, 1) if smoke else (WHOLE, 2)
    pairs = [(_with_workers(1, work), _with_workers(2, work)) for _ in range(rounds)]
    one, two = min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)
    ratio = one / two
    return {
        "name": "two workers",
        "shown": f"{work.pictures} candidates in {two:.1f} s",
        "raw_shown": f"by one worker in {one:.1f} s",
        "ratio": round(ratio, 2),
        "spread": spread([first / second for first, second in pairs]),
        "target": f">={TARGET:g}",
        "ok": ratio >= TARGET,
    }


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
