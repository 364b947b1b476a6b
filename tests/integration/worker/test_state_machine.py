"""Anything in any order: triggers, cancels, retries, pauses, killed workers, old messages, jumping clocks.

``KROMA_STATE_STEPS=2000`` is the long run; ``make test`` takes a small part of it.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import UUID

import httpx
import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.db.reader import Reader
from kroma.leases.renewer import LeaseRenewer
from kroma.leases.sweep import end_spent
from kroma.ledger.models import ProviderCall
from kroma.pipeline.execution.sweep import fail_spent, list_due
from kroma.pipeline.execution.wiring import WorkerContext
from kroma.providers.fake import FakeOutcome, FakeProvider, FakeScript
from kroma.queue.messages import AnyMessage
from kroma.resources import Resources
from kroma.runs.models import (
    OPEN_JOB_STATUSES,
    OPEN_RUN_STATUSES,
    JobStatus,
    Run,
    RunEvent,
    RunJob,
    RunStatus,
)
from kroma.runs.states import JOB_MOVES, RUN_MOVES
from kroma.secrets.keyring import Keyring
from kroma.storage.directory import DirectoryStores
from kroma_api.app import create_app
from kroma_worker.registry import TaskDeps, dispatch
from kroma_worker.slots import WorkerSlots
from support.builders.factories import scene_png
from support.doubles.memory_queue import MemoryTaskQueue
from support.harness.worker_harness import CallScheduler, no_access

pytestmark = pytest.mark.timeout(1800)

STEPS = int(os.environ.get("KROMA_STATE_STEPS", "50"))
STEPS_EACH = 25
SCENES = ("a.png", "b.png")
END_WITHIN_S = 60.0
"""Generous: how many rounds fit in a second depends on what else the machine does."""
CRASHES = {"task.crashed", "job.crashed", "run.finishing_crashed", "task.over_limit"}
JUMP = (
    """
    UPDATE run_jobs SET available_at = NULL, lease_expires_at = CASE
        WHEN lease_owner IS NOT NULL THEN clock_timestamp() - interval '1 second' END
    WHERE run_id IN (SELECT id FROM runs WHERE project_id = :project)
    """,
    """
    UPDATE runs SET available_at = NULL, lease_expires_at = CASE
        WHEN lease_owner IS NOT NULL THEN clock_timestamp() - interval '1 second' END
    WHERE project_id = :project
    """,
)
OPEN_GATES = "UPDATE provider_gates SET open_until = NULL, retry_after = NULL, next_call_at = NULL"
_numbers = count(1)


class KilledError(ConnectionError):
    """What a dead process would have written, it does not."""


class MortalDatabase(Database):
    """The database as one worker process sees it, until that is killed."""

    is_dead = False

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncSession, None]:
        self._live()
        async with super().transaction() as session:
            yield session
            self._live()

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[Reader, None]:
        self._live()
        async with super().reading() as reader:
            yield reader

    def _live(self) -> None:
        if self.is_dead:
            raise KilledError


class InlineCpu(CpuPool):
    """Picture work in this very process: the pictures are tiny."""

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)


class World:
    """What all examples share: a database and a folder."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        variables = {"KROMA_PROVIDER": "fake", "KROMA_API_AUTH_DEV_BYPASS": "1"}
        self.settings = Settings.from_environment(variables, data_dir=folder)
        self.stores = DirectoryStores(folder, allow_any_root=False)
        self.scene = scene_png(seed=1)

    def draw_scenes(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        for name in SCENES:
            (root / name).write_bytes(self.scene)


class WorkerProcess:
    """A worker that can be killed without a chance to clean up."""

    def __init__(self, machine: "Runs", name: str) -> None:
        self.db = MortalDatabase.connect(machine.world.url, pool_size=4)
        context = WorkerContext(
            db=self.db,
            renewer=machine.renewer,
            stores=machine.world.stores,
            providers={"fake": machine.provider},
            cpu=machine.cpu,
            scheduler=CallScheduler(
                answer_grace=timedelta(milliseconds=20), first_retry=timedelta(milliseconds=20)
            ),
            load_access=no_access,
        )
        self.deps = TaskDeps(context=context, queue=machine.queue, worker=name, slots=WorkerSlots(3))
        self.tasks: set[asyncio.Task[None]] = set()

    def take(self, message: AnyMessage) -> None:
        task = asyncio.ensure_future(dispatch(self.deps, message))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def kill(self) -> None:
        self.db.is_dead = True
        await self.stop()

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.db.close()


class Runs(RuleBasedStateMachine):
    """A project, its API, and two workers."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.do(self.open())

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    async def open(self) -> None:
        self.logs = structlog.testing.LogCapture()
        structlog.configure(processors=[structlog.processors.format_exc_info, self.logs])
        self.number = next(_numbers)
        self.cpu = InlineCpu(1)
        self.provider = FakeProvider(
            FakeScript(
                outcomes=(
                    FakeOutcome(scene="a.png", times=2, error="busy", retryable=True),
                    FakeOutcome(scene="b.png", times=1, error="no"),
                    FakeOutcome(delay_s=0.01),
                ),
                cost_usd=Decimal("0.01"),
            )
        )
        self.queue = MemoryTaskQueue()
        self.renewer = LeaseRenewer(self.world.url, look_every=timedelta(milliseconds=20))
        self.db = Database.connect(self.world.url, pool_size=4)
        resources = Resources(
            settings=self.world.settings,
            db=self.db,
            queue=self.queue,
            stores=self.world.stores,
            keyring=Keyring(self.world.settings.master_key),
            cpu=self.cpu,
            providers={"fake": self.provider},
        )
        transport = httpx.ASGITransport(create_app(resources), raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")
        made = (await self.client.post("/api/projects", json={"name": f"P{self.number}"})).json()
        self.project_id = UUID(made["project"]["id"])
        self.path = f"/api/projects/{made['project']['slug']}"
        self.world.draw_scenes(Path(made["storage"]["local"]["project_root"]))
        self.workers = [WorkerProcess(self, f"w{self.number}-{n}") for n in range(2)]
        self.run_ids: list[str] = []
        self.seen: list[AnyMessage] = []

    async def post(self, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        reply = await self.client.post(f"{self.path}{path}", json=body)
        assert reply.status_code < 500, (path, self.logs.entries[-1])
        self.seen += self.queue.messages
        return reply

    async def sql(self, statement: str) -> None:
        async with self.db.transaction() as session:
            await session.execute(text(statement), {"project": self.project_id})

    @rule(
        scenes=st.sampled_from([SCENES[:1], SCENES[1:], SCENES]), mode=st.sampled_from(["run", "run", "dry"])
    )
    def trigger(self, scenes: tuple[str, ...], mode: str) -> None:
        body = {"mode": mode, "scene_refs": list(scenes), "candidates": 1, "confirm_spend": True}
        reply = self.do(self.post("/runs/trigger", body))
        assert reply.status_code == 202, reply.text
        self.run_ids.append(reply.json()["run"]["id"])

    @precondition(lambda self: self.run_ids)
    @rule(pick=st.integers(0, 99), verb=st.sampled_from(["cancel", "retry", "rerun"]))
    def ask(self, pick: int, verb: str) -> None:
        run_id = self.run_ids[pick % len(self.run_ids)]
        reply = self.do(self.post(f"/runs/{run_id}/{verb}", {"confirm_spend": True}))
        if reply.status_code == 202:
            self.run_ids.append(reply.json()["run"]["id"])

    @rule(verb=st.sampled_from(["pause", "resume", "resume"]))
    def hold(self, verb: str) -> None:
        assert self.do(self.post(f"/{verb}", {})).status_code == 200

    @rule(worker=st.integers(0, 1), pause_ms=st.sampled_from([0, 5, 30]))
    def work(self, worker: int, pause_ms: int) -> None:
        """A worker takes what is rung; it may be halfway when the next thing happens."""
        self.do(self.carry(worker, pause_ms))

    async def carry(self, worker: int, pause_ms: int) -> None:
        messages, self.queue.messages = self.queue.messages, []
        self.seen += messages
        for message in messages:
            self.workers[worker].take(message)
        await asyncio.sleep(pause_ms / 1000)

    @rule(worker=st.integers(0, 1))
    def kill(self, worker: int) -> None:
        self.do(self.workers[worker].kill())
        self.workers[worker] = WorkerProcess(self, f"w{self.number}-{next(_numbers)}")

    @precondition(lambda self: self.seen)
    @rule(pick=st.integers(0, 999))
    def redeliver(self, pick: int) -> None:
        self.queue.messages.append(self.seen[pick % len(self.seen)])

    @rule()
    def jump_the_clock(self) -> None:
        self.do(self.jump())

    async def jump(self) -> None:
        for statement in JUMP:
            await self.sql(statement)

    @rule()
    def sweep(self) -> None:
        self.do(self.swept())

    async def swept(self) -> None:
        await end_spent(self.db, fail_spent)
        self.queue.messages += await list_due(self.db)

    def teardown(self) -> None:
        try:
            self.do(self.end())
        finally:
            self.do(self.close())
            self.runner.close()

    async def end(self) -> None:
        """Whatever happened, everything comes to its end now, by legal moves only."""
        await self.post("/resume", {})
        deadline = monotonic() + END_WITHIN_S
        while await self.open_rows() and monotonic() < deadline:
            await self.jump_if_idle()
            await self.swept()
            await self.carry(0, 20)
        assert await self.open_rows() == []
        await self.check_events()
        await self.check_money()
        crashed = [entry for entry in self.logs.entries if entry["event"] in CRASHES]
        by_death = [entry for entry in crashed if "KilledError" in str(entry)]
        assert [entry.get("exception", entry) for entry in crashed if entry not in by_death] == []

    async def jump_if_idle(self) -> None:
        await self.sql(OPEN_GATES)
        if not any(worker.tasks for worker in self.workers):
            await self.jump()

    async def open_rows(self) -> list[tuple[Any, ...]]:
        async with self.db.transaction() as session:
            runs = select(Run.id, Run.status, Run.attempt, Run.error).where(
                Run.project_id == self.project_id, Run.status.in_(OPEN_RUN_STATUSES)
            )
            jobs = (
                select(RunJob.id, RunJob.status, RunJob.attempt, RunJob.error)
                .join(Run, Run.id == RunJob.run_id)
                .where(Run.project_id == self.project_id, RunJob.status.in_(OPEN_JOB_STATUSES))
            )
            return [tuple(row) for query in (runs, jobs) for row in await session.execute(query)]

    async def check_events(self) -> None:
        async with self.db.transaction() as session:
            events = (
                await session.scalars(
                    select(RunEvent)
                    .join(Run, Run.id == RunEvent.run_id)
                    .where(Run.project_id == self.project_id)
                    .order_by(RunEvent.run_id, RunEvent.seq)
                )
            ).all()
        last: dict[object, str] = {}
        numbers: dict[UUID, int] = {}
        for event in events:
            assert event.seq == numbers.get(event.run_id, 0) + 1
            numbers[event.run_id] = event.seq
            if event.kind not in {"run", "job"}:
                continue
            data = event.data_json
            subject = event.run_id if event.kind == "run" else data["job_id"]
            new = data["status"]
            old = last.get(subject, "queued")
            if event.kind == "run" and subject in last:
                assert RunStatus(new) in RUN_MOVES[RunStatus(old)], (old, new)
            elif event.kind == "job":
                assert JobStatus(new) in JOB_MOVES[JobStatus(old)], (old, new)
            last[subject] = new

    async def check_money(self) -> None:
        async with self.db.transaction() as session:
            calls = (
                await session.scalars(select(ProviderCall).where(ProviderCall.project_id == self.project_id))
            ).all()
        settled = {call.id for call in calls if call.status == "settled"}
        unknown = {call.id for call in calls if call.status in {"unknown", "sent"}}
        charged = set(self.provider.charged)
        assert settled <= charged <= settled | unknown

    async def close(self) -> None:
        for worker in self.workers:
            await worker.stop()
        await self.renewer.close()
        await self.client.aclose()
        await self.db.close()


def test_nothing_that_happens_in_any_order_makes_an_illegal_move(
    fresh_database_url: str, data_dir: Path
) -> None:
    machine = type("Runs", (Runs,), {"world": World(fresh_database_url, data_dir)})
    before = structlog.get_config()
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=max(1, STEPS // STEPS_EACH),
                stateful_step_count=STEPS_EACH,
                deadline=None,
                database=None,
                phases=[Phase.generate],  # shrinking would replay minutes of work against the clock
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        structlog.configure(**before)
