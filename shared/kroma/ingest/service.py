"""A run log becomes rows, in one transaction, as often as anyone likes."""

import asyncio
from pathlib import Path
from uuid import UUID

import msgspec
from asyncpg.exceptions import (  # pyright: ignore[reportMissingTypeStubs] - it ships none
    DataError,
    IntegrityConstraintViolationError,
)
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.audit import service as audit
from kroma.db.engine import Database
from kroma.ingest.errors import RunLogConflictError
from kroma.ingest.write import write_rows
from kroma.projects.errors import ProjectNotFoundError
from kroma.projects.models import Project
from kroma.projects.queries import find_project
from kroma.projects.service import ProjectDraft, upsert_project
from kroma.runlog import ids, reader
from kroma.runlog.entries import RunEntry
from kroma.runlog.errors import RunLogInvalidError
from kroma.runs.models import Run
from kroma.storage.base import ProjectStores


class IngestResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an ingest found in a log; a second one of the same log answers the same."""

    ok: bool = True
    project_slug: str
    run_id: UUID
    run_log_path: str
    jobs: int
    candidates: int
    assets_upserted: int
    """Different paths."""
    quality_reports_written: int
    cost_events_written: int
    status: str
    """The run's, as the log has it or as its jobs make it."""


async def ingest_file(
    db: Database,
    stores: ProjectStores,
    *,
    slug: str,
    path: Path,
    data_dir: Path,
    create_project: bool = True,
) -> IngestResult:
    """Take in a log by hand, of ours or of the original.

    Args:
        slug: The project, made for user ``local`` if there is none.
        path: The log; a relative one counts from the current directory.
        data_dir: A log below it is known by its path from here.
        create_project: Whether a missing project may be made.

    Raises:
        ProjectNotFoundError: There is no such project, and none may be made or the slug has no form.
        RunLogInvalidError: The file is missing, unreadable or no run log.
        RunLogConflictError: Its ids belong to something else.
    """
    data = await asyncio.to_thread(_file_bytes, path)
    entry = await asyncio.to_thread(reader.read, data, source=str(path))
    async with db.transaction() as session:
        project = await find_project(session, slug)
    if project is None:
        if not create_project:
            raise ProjectNotFoundError
        draft = ProjectDraft.checked(name=slug, slug=slug)
        project = (await upsert_project(db, stores, draft, actor=None)).project
    log_path = await asyncio.to_thread(_known_path, path, data_dir)
    async with db.transaction() as session:
        return await ingest_entry(session, entry, project_id=project.id, log_path=log_path)


def _file_bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > reader.MAX_LOG_BYTES:
            raise RunLogInvalidError(str(path), f"has {size} bytes; the limit is {reader.MAX_LOG_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise RunLogInvalidError(str(path), f"cannot be read: {error.strerror}") from error
    except ValueError as error:  # a path with a NUL character
        raise RunLogInvalidError(repr(str(path)), "has an impossible name") from error


def _known_path(path: Path, data_dir: Path) -> str:
    absolute, base = path.resolve(), data_dir.resolve()
    return (absolute.relative_to(base) if absolute.is_relative_to(base) else absolute).as_posix()


async def ingest_log(db: Database, *, project_id: UUID, log_path: str, data: bytes) -> IngestResult:
    """Take in the log of a project.

    Raises:
        ProjectNotFoundError: The project is gone.
        RunLogInvalidError: It is no run log, or a field has a value that cannot be kept.
        RunLogConflictError: Its ids belong to something else.
    """
    entry = await asyncio.to_thread(reader.read, data, source=log_path)
    async with db.transaction() as session:
        return await ingest_entry(session, entry, project_id=project_id, log_path=log_path)


async def ingest_entry(
    session: AsyncSession, entry: RunEntry, *, project_id: UUID, log_path: str
) -> IngestResult:
    """Write what a log says, in the caller's transaction.

    A run of ours keeps its status and what its steps wrote; ingest adds what is missing. A run of
    the original is its log: it follows every change of it, under the ids it got the first time.

    Raises:
        ProjectNotFoundError: The project is gone.
        RunLogInvalidError: A value does not fit in its column.
        RunLogConflictError: The log's ids belong to something else.
    """
    # One ingest of a project at a time: runs share scenes and styles, and two logs that name
    # them in another order would otherwise wait for each other for ever.
    await session.execute(
        select(func.pg_advisory_xact_lock(func.hashtextextended(f"ingest {project_id}", 0)))
    )
    project = await session.get(Project, project_id)
    if project is None:
        raise ProjectNotFoundError
    run, is_new = await _run(session, entry, project_id=project_id, log_path=log_path)
    try:
        counts = (await write_rows(session, entry, run, is_new=is_new))._asdict()
    except IntegrityConstraintViolationError as error:
        problem = f"ids in it belong to other rows ({_first_line(error)})"
        raise RunLogConflictError(log_path, problem) from error
    except DataError as error:
        raise RunLogInvalidError(
            log_path, f"has a value the database cannot keep: {_first_line(error)}"
        ) from error
    result = IngestResult(
        project_slug=project.slug,
        run_id=run.id,
        run_log_path=run.run_log_path or log_path,
        status=entry.status,
        **counts,
    )
    await audit.record(
        session,
        code="run.ingested",
        project_id=project_id,
        actor=None,
        payload={"run_id": str(run.id), "run_log_path": result.run_log_path, **counts},
    )
    return result


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]  # the driver adds details and hints below


async def _run(
    session: AsyncSession, entry: RunEntry, *, project_id: UUID, log_path: str
) -> tuple[Run, bool]:
    at_path = await session.scalar(
        select(Run).where(Run.project_id == project_id, Run.run_log_path == log_path)
    )
    if entry.id is not None:
        run = await session.get(Run, entry.id)
        if run is not None and run.project_id != project_id:
            raise RunLogConflictError(log_path, "its run belongs to another project")
        if run is not None:
            return run, False
        if at_path is not None:
            raise RunLogConflictError(log_path, "another run has its log at this path")
    elif at_path is not None:
        if at_path.id != ids.run_id(project_id, log_path):
            raise RunLogConflictError(log_path, "a run of this installation has its log at this path")
        _describe(at_path, entry)
        return at_path, False
    run = Run(id=entry.id or ids.run_id(project_id, log_path), project_id=project_id, run_log_path=log_path)
    _describe(run, entry)
    session.add(run)
    await session.flush()
    return run, True


def _describe(run: Run, entry: RunEntry) -> None:
    run.run_mode = entry.mode
    run.status = entry.status
    run.stage = entry.stage
    run.time_of_day = entry.time
    run.weather = entry.weather
    run.model_name = entry.model
    run.provider_code = entry.provider
    run.image_size = entry.size
    run.image_quality = entry.quality
    run.candidates = entry.candidates
    run.settings_snapshot_json = msgspec.to_builtins(entry.settings)
    run.error, run.error_kind, run.error_code = entry.error, entry.error_kind, entry.error_code
    run.started_at, run.finished_at = entry.started_at, entry.finished_at
