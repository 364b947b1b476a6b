"""The trigger as a use case, on PostgreSQL."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import selectinload

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.pipeline.control.trigger import trigger_run
from kroma.pipeline.planning.errors import InvalidProjectSlugError, PlanningPreflightError
from kroma.pipeline.planning.plan import RunPlan
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.projects.errors import ProjectNotFoundError
from kroma.projects.models import Project
from kroma.providers.local import LocalProvider
from kroma.queue.base import TaskQueue
from kroma.queue.errors import QueueUnavailableError
from kroma.queue.messages import AnyMessage, ExecuteJob, FinishRun
from kroma.runs.models import Run, RunJob, RunMode, Stage, TimeOfDay, Weather
from kroma.spend.service import confirm_run
from kroma.storage.directory import DirectoryStores
from support.builders.factories import jpeg, make_project, png
from support.doubles.memory_queue import MemoryTaskQueue

pytestmark = pytest.mark.timeout(60)


class SilentQueue(MemoryTaskQueue):
    """A bell whose server does not answer."""

    async def enqueue_many(self, messages: Sequence[AnyMessage], *, delay: timedelta = timedelta()) -> None:
        del messages, delay
        raise QueueUnavailableError


class Trigger:
    """The use case with everything it needs but the call's own arguments."""

    def __init__(self, db: Database, queue: TaskQueue, data_dir: Path) -> None:
        self.db = db
        self.queue = queue
        self.settings = Settings.from_environment({}, data_dir=data_dir)
        self.stores = DirectoryStores(data_dir, allow_any_root=False)

    async def __call__(self, spec: RunSpec, *, slug: str = "comic") -> Run:
        return await trigger_run(
            self.db,
            self.queue,
            self.stores,
            self.settings,
            slug=slug,
            spec=spec,
            providers={"local": LocalProvider(CpuPool(1))},
            cpu=CpuPool(1),
        )


@pytest.fixture
def root(data_dir: Path) -> Path:
    root = data_dir / "var" / "projects" / "comic"
    root.mkdir(parents=True)
    (root / "b.png").write_bytes(png(40, 30))
    (root / "a.jpg").write_bytes(jpeg())
    (root / "ink.png").write_bytes(png())
    return root


@pytest.fixture
async def project(db: Database, root: Path) -> Project:  # noqa: ARG001 - a project with pictures
    async with db.transaction() as session:
        return await make_project(session)


@pytest.fixture
def queue() -> MemoryTaskQueue:
    return MemoryTaskQueue()


@pytest.fixture
def trigger(db: Database, queue: MemoryTaskQueue, data_dir: Path) -> Trigger:
    return Trigger(db, queue, data_dir)


async def stored_run(db: Database, run: Run) -> Run:
    async with db.transaction() as session:
        statement = select(Run).where(Run.id == run.id).options(selectinload(Run.jobs))
        return (await session.scalars(statement)).one()


async def rows(db: Database) -> tuple[int, int]:
    async with db.transaction() as session:
        runs = await session.scalar(select(func.count()).select_from(Run))
        jobs = await session.scalar(select(func.count()).select_from(RunJob))
    return runs or 0, jobs or 0


async def test_a_run_is_stored_with_its_jobs_in_plan_order_and_rung_for(
    db: Database, queue: MemoryTaskQueue, trigger: Trigger, project: Project
) -> None:
    spec = RunSpec(
        mode=RunMode.RUN,
        scene_refs=("b.png", "a.jpg"),
        style_refs=("ink.png",),
        stage=Stage.WEATHER,
        time_of_day=TimeOfDay.NIGHT,
        weather=Weather.RAIN,
        candidates=2,
        storage_sync_s3=True,
    )

    run = await trigger(spec)

    stored = await stored_run(db, run)
    assert [job.job_key for job in stored.jobs] == ["weather_1_b", "weather_2_a"]
    assert [job.ordinal for job in stored.jobs] == [0, 1]
    assert {job.status for job in stored.jobs} == {"queued"}
    assert queue.messages == [ExecuteJob(job_id=job.id) for job in stored.jobs]
    assert (stored.run_mode, stored.status, stored.stage) == ("run", "queued", "weather")
    assert (stored.time_of_day, stored.weather, stored.candidates) == ("night", "rain", 2)
    assert (stored.provider_code, stored.model_name, stored.storage_sync_s3) == ("local", "", True)
    assert stored.run_log_path == f"runs/run_{run.id}.json"
    assert stored.project_id == project.id
    assert "rain" in stored.jobs[0].prompt_text


@pytest.mark.usefixtures("project")
async def test_a_dry_run_plans_its_jobs_and_rings_for_its_end(
    db: Database, queue: MemoryTaskQueue, trigger: Trigger
) -> None:
    run = await trigger(RunSpec(scene_refs=("b.png",)))

    stored = await stored_run(db, run)
    assert (stored.run_mode, stored.status) == ("dry", "queued")
    assert [job.status for job in stored.jobs] == ["planned"]
    assert queue.messages == [FinishRun(run_id=run.id)]


@pytest.mark.usefixtures("project")
async def test_the_stored_plan_reads_back_as_it_was_made(db: Database, trigger: Trigger, root: Path) -> None:
    run = await trigger(RunSpec(scene_refs=("b.png",)))

    stored = await stored_run(db, run)
    plan = msgspec.convert(stored.plan_json, RunPlan)
    assert plan.jobs[0].scene.key == "b.png"
    assert (plan.jobs[0].scene.width, plan.jobs[0].scene.height) == (40, 30)
    assert plan.project_root == str(root)
    assert 0 <= plan.seed < 2**63
    assert plan.settings_snapshot == {}
    snapshot = stored.settings_snapshot_json
    assert set(snapshot) >= {"timestamp", "generation", "postprocess", "output_guard"}
    assert snapshot["generation"] == {"candidates": 1, "max_candidates": 6}
    assert snapshot["output_guard"]["enabled"] is True


@pytest.mark.usefixtures("project")
async def test_the_returned_run_equals_the_stored_one(db: Database, trigger: Trigger) -> None:
    run = await trigger(RunSpec(scene_refs=("b.png",)))

    stored = await stored_run(db, run)
    assert msgspec.convert(run.plan_json, RunPlan) == msgspec.convert(stored.plan_json, RunPlan)
    for name in ("id", "status", "settings_snapshot_json", "created_at", "stdout", "stderr"):
        assert getattr(run, name) == getattr(stored, name), name
    assert [(job.id, job.job_key, job.meta_json) for job in run.jobs] == [
        (job.id, job.job_key, job.meta_json) for job in stored.jobs
    ]


async def test_a_bell_that_is_down_loses_no_run(db: Database, data_dir: Path, project: Project) -> None:
    trigger = Trigger(db, SilentQueue(), data_dir)

    run = await trigger(RunSpec(scene_refs=("b.png",)), slug=project.slug)

    assert (await stored_run(db, run)).status == "queued"


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(RunSpec(scene_refs=("missing.png",)), id="a missing picture"),
        pytest.param(RunSpec(input="empty"), id="a missing folder"),
        pytest.param(RunSpec(scene_refs=("b.png",) * 21), id="21 scenes"),
        pytest.param(RunSpec(scene_refs=("../b.png",)), id="a path out of the root"),
    ],
)
async def test_a_bad_plan_leaves_no_row_and_rings_nobody(
    db: Database, queue: MemoryTaskQueue, trigger: Trigger, spec: RunSpec
) -> None:
    with pytest.raises(PlanningPreflightError):
        await trigger(spec)

    assert await rows(db) == (0, 0)
    assert queue.messages == []


async def test_an_unknown_project_is_not_found(
    trigger: Trigger,
) -> None:
    with pytest.raises(ProjectNotFoundError, match="Project not found"):
        await trigger(RunSpec(scene_refs=("b.png",)), slug="nobody's")


@pytest.mark.parametrize("slug", ["Hero Book", "hero.book", "hero__book/"])
async def test_a_slug_that_finds_its_project_must_be_written_as_one(
    db: Database, trigger: Trigger, slug: str
) -> None:
    async with db.transaction() as session:
        await make_project(session, slug="hero_book" if "__" not in slug else "hero__book")

    with pytest.raises(InvalidProjectSlugError):
        await trigger(RunSpec(scene_refs=("missing",)), slug=slug)

    assert await rows(db) == (0, 0)


@pytest.mark.parametrize("slug", ["COMIC", " comic "])
async def test_case_and_spaces_around_a_slug_do_not_matter(
    trigger: Trigger, project: Project, slug: str
) -> None:
    run = await trigger(RunSpec(scene_refs=("b.png",)), slug=slug)

    assert run.project_id == project.id


async def test_a_project_root_outside_the_data_directory_makes_no_plan(
    db: Database, trigger: Trigger, tmp_path: Path
) -> None:
    async with db.transaction() as session:
        await make_project(session, slug="away", root=tmp_path / "away")

    with pytest.raises(PlanningPreflightError, match="outside the data directory"):
        await trigger(RunSpec(scene_refs=("b.png",)), slug="away")

    assert await rows(db) == (0, 0)


@pytest.mark.usefixtures("project")
async def test_a_run_whose_job_cannot_be_stored_is_not_stored_either(
    db: Database, queue: MemoryTaskQueue, trigger: Trigger
) -> None:
    run = await trigger(RunSpec(scene_refs=("b.png", "a.jpg")))
    twin = Run(**{name: value for name, value in vars(run).items() if not name.startswith("_")})
    twin.id, twin.run_log_path = uuid4(), "runs/twin.json"

    # Its jobs have ids that are taken.
    with pytest.raises(asyncpg.UniqueViolationError):
        await confirm_run(db, twin, actor=None)

    assert await rows(db) == (1, 2)
    assert len(queue.messages) == 1
