"""Pausing a project: no job of it is claimed, no call of it begun, and what runs goes back to its queue."""

from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import func, literal, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.audit import service as audit
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.projects.models import Project
from kroma.projects.queries import get_project
from kroma.queue.base import TaskQueue
from kroma.queue.errors import QueueUnavailableError
from kroma.queue.messages import ExecuteJob
from kroma.runs.models import OPEN_RUN_STATUSES, JobStatus, Run, RunJob, RunStatus
from kroma.texts import optional_text

log = structlog.get_logger(__name__)

NOTIFIED_AT_ONCE: Final = 500
"""Jobs rung for by a resume; the sweep rings for the others."""


async def pause_project(db: Database, *, slug: str, reason: str | None, actor: UUID | None) -> Project:
    """Pause a project; one that is paused stays so, with the new reason where one is given.

    Raises:
        ProjectNotFoundError: There is no such project.
    """
    wanted = optional_text(reason)
    async with db.transaction() as session:
        project = await _lock(session, slug)
        if project.paused_at is not None and wanted in {None, project.paused_reason}:
            return project
        project.paused_at = project.paused_at or utc_now()
        project.paused_reason = wanted
        await _tell(session, project, "project.pause", actor=actor)
    return project


async def resume_project(db: Database, queue: TaskQueue, *, slug: str, actor: UUID | None) -> Project:
    """Let a project go on, and ring for what waits; one that is not paused stays as it is.

    Raises:
        ProjectNotFoundError: There is no such project.
    """
    async with db.transaction() as session:
        project = await _lock(session, slug)
        if project.paused_at is None:
            return project
        project.paused_at = project.paused_reason = None
        await _tell(session, project, "project.resume", actor=actor)
        waiting = list(
            await session.scalars(
                select(RunJob.id)
                .join(Run, Run.id == RunJob.run_id)
                .where(
                    Run.project_id == project.id,
                    Run.status.in_((RunStatus.QUEUED, RunStatus.RUNNING)),
                    RunJob.status == JobStatus.QUEUED,
                )
                .order_by(RunJob.created_at)
                .limit(NOTIFIED_AT_ONCE)
            )
        )
    try:
        await queue.enqueue_many([ExecuteJob(job_id=job_id) for job_id in waiting])
    except QueueUnavailableError:
        log.warning("resume.bell_down", project_id=str(project.id))
    return project


async def _lock(session: AsyncSession, slug: str) -> Project:
    """The project, kept from others until the transaction ends; the ledger waits for it, too."""
    found = await get_project(session, slug)
    return (
        await session.scalars(
            select(Project)
            .where(Project.id == found.id)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
    ).one()


async def _tell(session: AsyncSession, project: Project, code: str, *, actor: UUID | None) -> None:
    """Write to the trail, and to every open run: what it waits for has changed."""
    reason = {} if project.paused_reason is None else {"reason": project.paused_reason}
    await audit.record(session, code=code, project_id=project.id, actor=actor, payload=reason)
    open_runs = (
        select(Run.id)
        .where(Run.project_id == project.id, Run.status.in_(OPEN_RUN_STATUSES))
        .order_by(Run.id)
        .with_for_update(key_share=True)
        .cte("open_runs")
    )
    notice = literal({"paused": project.paused_at is not None, "reason": project.paused_reason}, JSONB())
    await session.execute(select(func.kroma_run_event(open_runs.c.id, "notice", notice)))
