"""Pauses a project: its jobs are not claimed, its calls are not made, and running jobs are requeued."""

from typing import Final
from uuid import UUID

from sqlalchemy import func, literal, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.audit import service as audit
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.pipeline.control.notify import notify
from kroma.projects.models import Project
from kroma.projects.queries import get_project
from kroma.queue.base import TaskQueue
from kroma.queue.messages import ExecuteJob
from kroma.runs.models import OPEN_RUN_STATUSES, JobStatus, Run, RunJob, RunStatus
from kroma.texts import optional_text

NOTIFIED_AT_ONCE: Final = 500
"""The most jobs that a resume notifies workers of; the sweep finds the others."""


async def pause_project(db: Database, *, slug: str, reason: str | None, actor: UUID | None) -> Project:
    """Pause a project; if it is already paused, only a given reason replaces the old one.

    Raises:
        ProjectNotFoundError: No project has this slug.
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
    """Resume a paused project and notify workers of its queued jobs.

    Raises:
        ProjectNotFoundError: No project has this slug.
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
    await notify(queue, [ExecuteJob(job_id=job_id) for job_id in waiting])
    return project


async def _lock(session: AsyncSession, slug: str) -> Project:
    """The project, its row locked; the ledger waits for this lock, too."""
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
    """Write the audit trail, and a notice to every open run."""
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
