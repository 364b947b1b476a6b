"""Turns a run log into rows, idempotently, in one transaction."""

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
    """What a log contains; ingesting it again gives the same result."""

    ok: bool = True
    project_slug: str
    run_id: UUID
    run_log_path: str
    jobs: int
    candidates: int
    assets_upserted: int
    """Distinct paths."""
    quality_reports_written: int
    cost_events_written: int
    status: str
    """The run's status from the log, or derived from its jobs."""


async def ingest_file(
    db: Database,
    stores: ProjectStores,
    *,
    slug: str,
    path: Path,
    data_dir: Path,
    create_project: bool = True,
) -> IngestResult:
    """Ingest a log file, written by Kroma or the original.

    Args:
        slug: The project; a missing one is created for user ``local``.
        path: The log, absolute or relative to the current directory.
        data_dir: A log below this directory is stored with its path relative to it.
        create_project: Whether a missing project is created.

    Raises:
        ProjectNotFoundError: The project does not exist and may not be created, or the slug is invalid.
        RunLogInvalidError: The file is missing, unreadable or not a run log.
        RunLogConflictError: The log's ids belong to something else.
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
            problem = f"the file has {size} bytes; the limit is {reader.MAX_LOG_BYTES}"
            raise RunLogInvalidError(str(path), problem)
        return path.read_bytes()
    except OSError as error:
        raise RunLogInvalidError(str(path), f"the file cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise RunLogInvalidError(repr(str(path)), "a path must not contain NUL characters") from error


def _known_path(path: Path, data_dir: Path) -> str:
    absolute, base = path.resolve(), data_dir.resolve()
    return (absolute.relative_to(base) if absolute.is_relative_to(base) else absolute).as_posix()


async def ingest_log(db: Database, *, project_id: UUID, log_path: str, data: bytes) -> IngestResult:
    """Ingest a project's log.

    Raises:
        ProjectNotFoundError: The project has been deleted.
        RunLogInvalidError: The data is not a run log, or a value cannot be stored.
        RunLogConflictError: The log's ids belong to something else.
    """
    entry = await asyncio.to_thread(reader.read, data, source=log_path)
    async with db.transaction() as session:
        return await ingest_entry(session, entry, project_id=project_id, log_path=log_path)


async def ingest_entry(
    session: AsyncSession, entry: RunEntry, *, project_id: UUID, log_path: str
) -> IngestResult:
    """Write a log's rows, in the caller's transaction.

    For a run of Kroma, ingest only adds what its steps did not write. A run of the original follows every
    change of its log and keeps the ids of the first ingest.

    Raises:
        ProjectNotFoundError: The project has been deleted.
        RunLogInvalidError: A value does not fit in its column.
        RunLogConflictError: The log's ids belong to something else.
    """
    # One ingest per project at a time: runs share scenes and styles, and two logs that list them
    # in a different order would deadlock.
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
        problem = f"its ids belong to other rows ({_first_line(error)})"
        raise RunLogConflictError(log_path, problem) from error
    except DataError as error:
        problem = f"the database cannot store a value: {_first_line(error)}"
        raise RunLogInvalidError(log_path, problem) from error
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
    return str(error).partition("\n")[0]  # details and hints follow on other lines


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
            raise RunLogConflictError(log_path, "another run already has its log at this path")
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
