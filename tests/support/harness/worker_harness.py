"""A worker in the test's own process: real database, real files, a scripted provider."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy import select, text

from kroma.assets.models import Asset
from kroma.config import Settings
from kroma.costs.models import CostEvent
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.leases.renewer import LeaseRenewer
from kroma.ledger.call_scheduler import CallScheduler
from kroma.pipeline.control.trigger import trigger_run
from kroma.pipeline.execution.wiring import WorkerContext
from kroma.pipeline.planning.postprocess_config import PostprocessSwitches
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.projects.models import Project
from kroma.provider_accounts.access import AccessLoader, no_access
from kroma.providers.base import Provider
from kroma.providers.fake import FakeOutcome, FakeProvider, FakeScript
from kroma.quality.models import QualityReport
from kroma.queue.messages import ExecuteJob
from kroma.runs.models import Run, RunCandidate, RunJob
from kroma.storage.base import ProjectStores
from kroma_worker.registry import TaskDeps, dispatch
from kroma_worker.tasks import runs, sync
from support.doubles.memory_queue import MemoryTaskQueue

SCENES = ("harbor.png", "tower.png")
TASKS = (runs, sync)  # importing the module registers its tasks


def url_of(db: Database) -> str:
    """Where a pool of connections leads."""
    return db.engine.url.render_as_string(hide_password=False)


class Order(msgspec.Struct, kw_only=True):
    """The body of a trigger; the fields a test leaves out are absent."""

    mode: str | None = "run"
    confirm_spend: bool | None = True
    project_root: str | None = None
    input: str | None = None
    scene_refs: list[str] | None = None
    style_refs: list[str] | None = None
    stage: str | None = None
    time: str | None = None
    weather: str | None = None
    candidates: int | None = 2
    storage_sync_s3: bool | None = None
    provider: str | None = None
    model: str | None = None
    size: str | None = None
    quality: str | None = None
    seed: int | None = None
    style_guide_id: str | None = None
    prompt_template_id: str | None = None
    reference_set_ids: list[str] | None = None
    character_ids: list[str] | None = None
    baseline_run_id: str | None = None
    postprocess: PostprocessSwitches | None = None


class RowMapper(msgspec.Struct):
    """Everything the database holds of a run."""

    run: Run
    jobs: list[RunJob]
    candidates: dict[str, list[RunCandidate]]
    assets: list[Asset]
    reports: list[QualityReport]
    costs: list[CostEvent]


class Studio:
    """A project with two scenes, and hands to run it."""

    def __init__(
        self, db: Database, cpu: CpuPool, settings: Settings, project: Project, stores: ProjectStores
    ) -> None:
        self.db = db
        self.settings = settings
        self.project = project
        self.root = settings.data_dir / "comic"
        self.queue = MemoryTaskQueue()
        self.stores = stores
        self.cpu = cpu
        self.provider = FakeProvider()
        self.scheduler = CallScheduler(
            answer_grace=timedelta(milliseconds=200), first_retry=timedelta(milliseconds=50)
        )
        self.load_access: AccessLoader = no_access
        self.renewer = LeaseRenewer(url_of(db), look_every=timedelta(milliseconds=100))

    def script(self, *outcomes: FakeOutcome, **options: Any) -> FakeProvider:
        self.provider = FakeProvider(FakeScript(outcomes=outcomes, **options))
        return self.provider

    @property
    def providers(self) -> Mapping[str, Provider]:
        return {"fake": self.provider}

    @property
    def context(self) -> WorkerContext:
        return WorkerContext(
            db=self.db,
            renewer=self.renewer,
            stores=self.stores,
            providers=self.providers,
            cpu=self.cpu,
            scheduler=self.scheduler,
            load_access=self.load_access,
        )

    @property
    def deps(self) -> TaskDeps:
        return TaskDeps(context=self.context, queue=self.queue, worker="worker-test")

    async def trigger(self, scenes: Sequence[str] = SCENES, **fields: Any) -> Run:
        named = None if "input" in fields else list(scenes)
        spec = Order(**{"scene_refs": named, **fields})
        return await trigger_run(
            self.db,
            self.queue,
            self.stores,
            self.settings,
            slug=self.project.slug,
            spec=RunSpec.checked(spec),
            providers=self.providers,
            cpu=self.cpu,
        )

    async def work(self) -> None:
        """Carry every message that is rung, the ones rung meanwhile too."""
        while self.queue.messages:
            messages, self.queue.messages = self.queue.messages, []
            await asyncio.gather(*(dispatch(self.deps, message) for message in messages))

    async def run_to_end(self, scenes: Sequence[str] = SCENES, **fields: Any) -> RowMapper:
        run = await self.trigger(scenes, **fields)
        await self.work()
        return await self.rows(run)

    async def job_messages(self, run: Run) -> list[ExecuteJob]:
        async with self.db.transaction() as session:
            ids = await session.scalars(
                select(RunJob.id).where(RunJob.run_id == run.id).order_by(RunJob.ordinal)
            )
            return [ExecuteJob(job_id=job_id) for job_id in ids]

    async def db_value(self, sql: str) -> Any:
        async with self.db.transaction() as session:
            return await session.scalar(text(sql))

    async def rows(self, run: Run) -> RowMapper:
        async with self.db.transaction() as session:
            jobs = list(
                await session.scalars(select(RunJob).where(RunJob.run_id == run.id).order_by(RunJob.ordinal))
            )
            candidates: Mapping[str, list[RunCandidate]] = {
                job.job_key: list(
                    await session.scalars(
                        select(RunCandidate)
                        .where(RunCandidate.job_id == job.id)
                        .order_by(RunCandidate.candidate_index)
                    )
                )
                for job in jobs
            }
            return RowMapper(
                (await session.scalars(select(Run).where(Run.id == run.id))).one(),
                jobs,
                dict(candidates),
                list(await session.scalars(select(Asset).order_by(Asset.rel_path))),
                list(await session.scalars(select(QualityReport).where(QualityReport.run_id == run.id))),
                list(await session.scalars(select(CostEvent).where(CostEvent.run_id == run.id))),
            )
