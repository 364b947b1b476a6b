"""200 requests per second for five minutes on one API and one worker: 95 % reads, 5 % dry triggers.

Requests are scheduled in advance at random times, like those of many users, and each is timed from its
scheduled moment, so one that waits behind a slow one pays for the wait. The reads are runs with their
`ETag`, jobs, events, assets, pictures, thumbnails, quality reports, costs and health, over projects
whose runs were drawn before; the worker finishes each triggered run in the meantime. The raw side is an
empty Litestar handler on the same server for one minute at the same rate. Targets: no errors, and flat
memory: in the last quarter, the median resident set of each process tree is at most 12 MB above that of
the second quarter.
"""

import asyncio
import json
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, Final

import msgspec
import uvloop
from asking import Asker, AskingError
from figures import percentile
from health import running_empty
from memory import tree_mb
from sqlalchemy import func, select
from stack import Stack, running_api, running_stack, running_worker

from kroma.auth.service import create_token
from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.pipeline.control.trigger import trigger_run
from kroma.pipeline.control.wait import wait_for_end
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.projects.service import ProjectDraft, upsert_project
from kroma.providers.fake import FakeProvider
from kroma.queue.arq import ArqTaskQueue
from kroma.runs.models import Run, RunMode
from kroma.storage.directory import DirectoryStores, resolve_root
from style_references import style_reference

RATE: Final = 200
TRIGGERS: Final = 0.05
FLAT_MB: Final = 12.0
SCENES: Final = ("harbor.png", "tower.png")
DRAINED_WITHIN_S: Final = 60.0


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much data and load there is."""

    projects: int
    runs: int
    """Runs in each project, finished beforehand."""
    rate: float
    """Requests per second."""
    warm_s: float
    """The warm-up at the same rate: it opens connections, prepares statements and makes thumbnails."""
    seconds: float
    bare_seconds: float
    sample_s: float


WHOLE: Final = Size(projects=3, runs=15, rate=RATE, warm_s=15, seconds=300, bare_seconds=60, sample_s=2)
SMALL: Final = Size(projects=1, runs=1, rate=20, warm_s=0.1, seconds=1, bare_seconds=0.2, sample_s=0.1)


class Filled(msgspec.Struct, frozen=True, kw_only=True):
    """The data that requests read."""

    token: str
    runs: dict[str, list[str]]
    """Ids of runs by project slug."""


async def _fill(stack: Stack, size: Size) -> Filled:
    settings = Settings.from_environment({"KROMA_PROVIDER": "fake"}, data_dir=stack.folder)
    db, queue = Database.connect(stack.database_url), ArqTaskQueue(stack.redis_url)
    stores = DirectoryStores(stack.folder, allow_any_root=False)
    spec = RunSpec(mode=RunMode.RUN, scene_refs=SCENES, candidates=2)
    runs: dict[str, list[str]] = {}
    for number in range(size.projects):
        slug = f"load-{number}"
        await upsert_project(db, stores, ProjectDraft.checked(name=slug), actor=None)
        root = resolve_root(stack.folder, slug, None)
        root.mkdir(parents=True)
        for scene in SCENES:
            (root / scene).write_bytes(style_reference("noir ink", size=(160, 200)))
        made = [
            await trigger_run(
                db,
                queue,
                stores,
                settings,
                slug=slug,
                spec=spec,
                providers={"fake": FakeProvider()},
                cpu=CpuPool(1),
            )
            for _ in range(size.runs)
        ]
        for run in made:
            await wait_for_end(db, run.id, timeout=timedelta(minutes=5))
        runs[slug] = [str(run.id) for run in made]
    async with db.transaction() as session:
        token = (await create_token(session)).secret
    await queue.close()
    await db.close()
    return Filled(token=token, runs=runs)


class Mix:
    """Sends a random mix of requests, like that of clients."""

    def __init__(self, asker: Asker, filled: Filled, assets: dict[str, list[str]]) -> None:
        self._asker = asker
        self._runs = {slug: list(runs) for slug, runs in filled.runs.items()}
        self._assets = assets
        self._tags: dict[str, str] = {}
        self._random = random.Random(7)  # noqa: S311 - the same requests each time
        reads: list[tuple[float, Callable[[str], Awaitable[None]]]] = [
            (30, self._run),
            (12, self._read("runs?limit=50")),
            (12, self._read("assets?limit=50")),
            (8, self._of_run("jobs")),
            (5, self._of_run("events?limit=50")),
            (8, self._of_asset("")),
            (8, self._of_asset("/content")),
            (8, self._of_asset("/thumbnail?size=256")),
            (4, self._read("quality-reports?limit=50")),
            (4, self._read("cost-events?limit=50")),
            (5, self._health),
        ]
        share = TRIGGERS / (1 - TRIGGERS) * sum(weight for weight, _ in reads)
        self._kinds = [kind for _, kind in reads] + [self._trigger]
        self._weights = [weight for weight, _ in reads] + [share]
        self.triggered = 0

    async def one(self) -> None:
        """Send one request; an unexpected response raises."""
        (kind,) = self._random.choices(self._kinds, self._weights)
        await kind(self._random.choice(list(self._runs)))

    async def _trigger(self, slug: str) -> None:
        body = msgspec.json.encode({"mode": "dry", "scene_refs": list(SCENES), "candidates": 2})
        path = f"/api/projects/{slug}/runs/trigger"
        answer = await self._asker.ask("POST", path, body=body, expected=(202,))
        self._runs[slug].append(msgspec.json.decode(answer.body)["run"]["id"])
        self.triggered += 1

    async def _run(self, slug: str) -> None:
        # Half of them poll the newest run, like an open page.
        runs = self._runs[slug]
        run_id = runs[-1] if self._random.random() < 0.5 else self._random.choice(runs)
        path = f"/api/projects/{slug}/runs/{run_id}"
        answer = await self._asker.ask("GET", path, tag=self._tags.get(run_id), expected=(200, 304))
        self._tags[run_id] = answer.tag

    def _read(self, path: str) -> Callable[[str], Awaitable[None]]:
        async def read(slug: str) -> None:
            await self._asker.ask("GET", f"/api/projects/{slug}/{path}")

        return read

    def _of_run(self, path: str) -> Callable[[str], Awaitable[None]]:
        async def read(slug: str) -> None:
            run_id = self._random.choice(self._runs[slug])
            await self._asker.ask("GET", f"/api/projects/{slug}/runs/{run_id}/{path}")

        return read

    def _of_asset(self, path: str) -> Callable[[str], Awaitable[None]]:
        async def read(slug: str) -> None:
            asset_id = self._random.choice(self._assets[slug])
            await self._asker.ask("GET", f"/api/projects/{slug}/assets/{asset_id}{path}")

        return read

    async def _health(self, _: str) -> None:
        await self._asker.ask("GET", "/health")


class Load(msgspec.Struct, kw_only=True):
    """The results of a load."""

    latencies_ms: list[float] = []
    errors: list[str] = []

    def shown(self) -> str:
        """The percentiles 50, 95 and 99."""
        values = "/".join(f"{percentile(self.latencies_ms, share):.1f}" for share in (0.5, 0.95, 0.99))
        return f"{values} ms (p50/p95/p99 of {len(self.latencies_ms)})"


async def _offer(one: Callable[[], Awaitable[None]], *, rate: float, seconds: float) -> Load:
    """Send requests at scheduled times, without waiting for responses."""
    load = Load(latencies_ms=[], errors=[])
    gaps = random.Random(11)  # noqa: S311 - the same moments each time
    began = due = time.perf_counter()
    in_flight: set[asyncio.Task[None]] = set()

    async def send(due: float) -> None:
        try:
            await one()
        except AskingError as exc:
            load.errors.append(str(exc))
        else:
            load.latencies_ms.append((time.perf_counter() - due) * 1000)

    while (due := due + gaps.expovariate(rate)) < began + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(send(due))
        in_flight.add(task)
        task.add_done_callback(in_flight.discard)
    await asyncio.gather(*in_flight)
    return load


async def _assets(asker: Asker, slugs: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for slug in slugs:
        answer = await asker.ask("GET", f"/api/projects/{slug}/assets?kind=candidate_output&limit=100")
        found[slug] = [asset["id"] for asset in msgspec.json.decode(answer.body)["assets"]]
    return found


class Memory:
    """Samples the resident megabytes of process trees."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self.samples: dict[str, list[float]] = {name: [] for name in pids}

    async def watch(self, *, every_s: float) -> None:
        """Sample until the task is canceled."""
        while True:
            for name, pid in self._pids.items():
                self.samples[name].append(tree_mb(pid))
            await asyncio.sleep(every_s)

    def growth_mb(self, name: str) -> float:
        """The median of the last quarter of the samples minus that of the second quarter."""
        samples = self.samples[name]
        quarter = max(1, len(samples) // 4)
        return statistics.median(samples[-quarter:]) - statistics.median(
            samples[quarter : 2 * quarter] or samples
        )

    def shown(self, name: str, *, every_s: float) -> str:
        """The first, the middle and the last sample, and the slope."""
        samples = self.samples[name]
        later = samples[len(samples) // 4 :]
        slope = 0.0
        if len(later) > 1:
            slope = statistics.linear_regression(range(len(later)), later).slope * 60 / every_s
        start, middle, end = samples[0], samples[len(samples) // 2], samples[-1]
        return f"{name} {start:.0f}, {middle:.0f}, {end:.0f} MB ({slope:+.2f} MB a minute)"


async def _asked(address: str, filled: Filled, memory: Memory, size: Size) -> tuple[Load, int]:
    asker = Asker(address, token=filled.token)
    mix = Mix(asker, filled, await _assets(asker, list(filled.runs)))
    warm = await _offer(mix.one, rate=size.rate, seconds=size.warm_s)
    watching = asyncio.create_task(memory.watch(every_s=size.sample_s))
    load = await _offer(mix.one, rate=size.rate, seconds=size.seconds)
    watching.cancel()
    asker.close()
    load.errors += warm.errors
    return load, mix.triggered


async def _asked_bare(address: str, size: Size) -> Load:
    asker = Asker(address)

    async def one() -> None:
        await asker.ask("GET", "/health")

    await _offer(one, rate=size.rate, seconds=size.warm_s)
    load = await _offer(one, rate=size.rate, seconds=size.bare_seconds)
    asker.close()
    return load


async def _unfinished(stack: Stack) -> int:
    """The number of runs that are not ``ok``, after waiting up to a minute for them."""
    db = Database.connect(stack.database_url)
    deadline = time.monotonic() + DRAINED_WITHIN_S
    while True:
        async with db.transaction() as session:
            left = await session.scalar(select(func.count()).select_from(Run).where(Run.status != "ok")) or 0
        if not left or time.monotonic() > deadline:
            await db.close()
            return left
        await asyncio.sleep(0.2)


def measure(*, smoke: bool = False) -> list[dict[str, Any]]:
    """Run the load on private servers, one API and one worker."""
    size = SMALL if smoke else WHOLE
    with ExitStack() as opened:
        stack = opened.enter_context(running_stack())
        worker = opened.enter_context(running_worker(stack, KROMA_PROVIDER="fake"))
        filled = uvloop.run(_fill(stack, size))
        with running_empty() as port:
            bare = uvloop.run(_asked_bare(f"http://127.0.0.1:{port}", size))
        api, address = opened.enter_context(running_api(stack, KROMA_PROVIDER="fake"))
        memory = Memory({"api": api.pid, "worker": worker.pid})
        load, triggered = uvloop.run(_asked(address, filled, memory, size))
        unfinished = uvloop.run(_unfinished(stack))
    errors = [*load.errors, *bare.errors]
    if smoke and errors:
        raise AskingError(errors[0])
    growth = {name: memory.growth_mb(name) for name in memory.samples}
    p99 = [percentile(side.latencies_ms, 0.99) for side in (load, bare)]
    return [
        {
            "name": f"load: {RATE} requests/s",
            "shown": f"{load.shown()}, {triggered} triggered, {len(errors)} errors",
            "raw_shown": bare.shown(),
            "ratio": round(p99[0] / p99[1], 2),
            "target": "0 errors, each run ends",
            "ok": not errors and not unfinished,
            "errors": errors[:5],
            "unfinished": unfinished,
        },
        {
            "name": "load: memory",
            "shown": "; ".join(memory.shown(name, every_s=size.sample_s) for name in memory.samples),
            "target": f"flat: +{FLAT_MB:g} MB at most",
            "ok": max(growth.values()) <= FLAT_MB,
            "growth_mb": {name: round(value, 1) for name, value in growth.items()},
        },
    ]


def main() -> None:
    for line in measure():
        print(json.dumps(line))


if __name__ == "__main__":
    main()
