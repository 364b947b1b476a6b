"""The trigger: plan, insert, commit, ring."""

import re
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

import msgspec
import structlog
from sqlalchemy import bindparam, select

from kroma.config import Settings
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.pipeline.errors import InvalidProjectSlugError
from kroma.pipeline.order import RunOrder
from kroma.pipeline.plan import RunPlan
from kroma.pipeline.planning import plan_run
from kroma.projects.errors import ProjectNotFoundError
from kroma.projects.models import Project, ProjectStorage
from kroma.projects.slugs import normalised_slug
from kroma.projects.storage import resolve_root
from kroma.queue.base import TaskQueue
from kroma.queue.errors import QueueUnavailableError
from kroma.queue.messages import AnyMessage, ExecuteJob, FinishRun
from kroma.runs.models import JobStatus, Run, RunJob, RunMode, RunStatus
from kroma.runs.service import insert_run
from kroma.storage.base import ProjectStores
from kroma.storage.keys import run_log_key

log = structlog.get_logger(__name__)

_SLUG: Final = re.compile(r"[A-Za-z0-9_-]+")


async def trigger_run(
    db: Database, queue: TaskQueue, stores: ProjectStores, settings: Settings, *, slug: str, order: RunOrder
) -> Run:
    """Plan a run, commit it, then ring for its jobs.

    Returns:
        The run with its jobs, in plan order.

    Raises:
        ProjectNotFoundError: No project has this slug.
        InvalidProjectSlugError: One has, but the slug is not written as one.
        PlanningPreflightError: Settings, manifest or pictures make no plan; no row stays.
    """
    project = await _get_place(db, slug)
    if _SLUG.fullmatch(slug.strip()) is None:
        raise InvalidProjectSlugError(slug)
    root = resolve_root(settings.data_dir, project.slug, project.storage)
    # Reads the disk, so outside a transaction.
    plan = await plan_run(stores, settings, project_slug=project.slug, root=root, order=order)
    run = _new_run(project.id, plan)
    await insert_run(db, run)
    # Only after the commit: a worker must never receive an id it cannot load.
    await _ring(queue, run)
    return run


class _Place(msgspec.Struct, frozen=True):
    """What a trigger needs of a project."""

    id: UUID
    slug: str
    storage: ProjectStorage | None


_PLACE: Final = Prepared(
    select(Project.id, Project.slug, ProjectStorage.local_base_dir, ProjectStorage.local_project_root)
    .join(ProjectStorage, ProjectStorage.project_id == Project.id, isouter=True)
    .where(Project.slug == bindparam("slug"))
)


async def _get_place(db: Database, slug: str) -> _Place:
    """``projects.queries.get_project`` without its entities."""
    rows = await db.fetch(_PLACE, {"slug": normalised_slug(slug)})
    if not rows:
        raise ProjectNotFoundError
    (row,) = rows
    storage = None
    if row["local_base_dir"] is not None:
        storage = ProjectStorage(
            local_base_dir=row["local_base_dir"], local_project_root=row["local_project_root"]
        )
    return _Place(row["id"], row["slug"], storage)


def _new_run(project_id: UUID, plan: RunPlan) -> Run:
    run_id, now = uuid4(), utc_now()
    stored_plan = msgspec.structs.replace(plan, settings_snapshot={})
    return Run(
        id=run_id,
        project_id=project_id,
        run_mode=plan.mode,
        status=RunStatus.QUEUED,
        stage=plan.stage,
        time_of_day=plan.time_of_day,
        weather=plan.weather,
        model_name=plan.model,
        provider_code=plan.provider,
        image_size=plan.size,
        image_quality=plan.quality,
        candidates=plan.candidates,
        plan_json=msgspec.to_builtins(stored_plan),
        settings_snapshot_json={"timestamp": now.isoformat(), **plan.settings_snapshot},
        storage_sync_s3=plan.storage_sync_s3,
        run_log_path=run_log_key(run_id),
        fence=0,
        attempt=0,
        revision=1,
        estimated_usd=None,
        origin_run_id=None,
        origin_kind=None,
        idempotency_id=None,
        stdout="",
        stderr="",
        created_at=now,
        jobs=_new_jobs(run_id, plan, created_at=now),
    )


def _new_jobs(run_id: UUID, plan: RunPlan, *, created_at: datetime) -> list[RunJob]:
    status = JobStatus.QUEUED if plan.mode is RunMode.RUN else JobStatus.PLANNED
    return [
        RunJob(
            id=uuid4(),
            run_id=run_id,
            ordinal=ordinal,
            job_key=job.job_key,
            status=status,
            prompt_text=job.prompt,
            meta_json={},
            created_at=created_at,
        )
        for ordinal, job in enumerate(plan.jobs)
    ]


async def _ring(queue: TaskQueue, run: Run) -> None:
    messages: list[AnyMessage] = (
        [ExecuteJob(job_id=job.id) for job in run.jobs]
        if run.run_mode == RunMode.RUN
        else [FinishRun(run_id=run.id)]
    )
    try:
        await queue.enqueue_many(messages)
    except QueueUnavailableError:
        # The rows are there: the sweep rings again.
        log.warning("trigger.bell_down", run_id=str(run.id))
