"""Locks winners as baselines, which later stages of a scene start from and are measured against."""

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from kroma.audit import service as audit
from kroma.baselines.models import Baseline
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.pipeline.planning.errors import InvalidRunRequestError, NothingToLockError
from kroma.pipeline.planning.project_location import get_location
from kroma.runlog.schema import FileLog, JobLog
from kroma.runs.events import write_event
from kroma.runs.models import OPEN_RUN_STATUSES, Run, RunCandidate, RunJob
from kroma.runs.queries import get_run
from kroma.storage.base import ObjectStore, ProjectStores


class NotLocked(NamedTuple):
    """A job without a picture that could be locked."""

    job_key: str
    reason: str
    """A whole sentence."""


class LockedBaselines(NamedTuple):
    """The result of a lock."""

    baselines: list[Baseline]
    """The current ones, in plan order, including those that were locked before."""
    skipped: list[NotLocked]
    audit_id: UUID | None
    """None if all were locked before."""


class _Lockable(NamedTuple):
    job: RunJob
    candidate: RunCandidate
    scene: FileLog
    picture: FileLog


async def lock_baseline(
    db: Database,
    stores: ProjectStores,
    *,
    slug: str,
    run_id: str,
    job_keys: Sequence[str] | None,
    note: str | None,
    actor: UUID | None,
) -> LockedBaselines:
    """Lock the selected pictures of a run, or of given jobs, each for the content of its scene.

    The picture before post-processing is locked. A later lock for the same scene replaces an earlier one.

    Raises:
        RunNotFoundError: The project or the run is unknown.
        InvalidRunRequestError: The run has no job with a given key.
        NothingToLockError: The run has not ended, or it or a given job has no picture.
    """
    async with db.transaction() as session:
        found = await get_run(session, slug=slug, run_id=run_id)
        statement = (
            select(Run)
            .where(Run.id == found.id)
            .options(selectinload(Run.jobs).selectinload(RunJob.candidates))
        )
        run = (await session.scalars(statement)).one()
    if run.status in OPEN_RUN_STATUSES:
        raise NothingToLockError(f"The run is {run.status}; wait until it has ended")
    location = await get_location(db, stores, slug)
    store = location.open(stores)
    lockable, skipped = await _sort_out(store, _wanted(run, job_keys))
    if skipped and (job_keys is not None or not lockable):
        raise NothingToLockError("; ".join(one.reason for one in skipped[:_SHOWN]))
    if not lockable:
        raise NothingToLockError("The run has no jobs")
    async with db.transaction() as session:
        return await _lock(session, run, lockable, skipped, note=(note or "").strip(), actor=actor)


_SHOWN: Final = 5


def _wanted(run: Run, job_keys: Sequence[str] | None) -> list[RunJob]:
    if job_keys is None:
        return list(run.jobs)
    by_key = {job.job_key: job for job in run.jobs}
    if not job_keys:
        raise InvalidRunRequestError("Field 'job_keys' must not be empty")
    for job_key in job_keys:
        if job_key.strip() not in by_key:
            known = ", ".join(list(by_key)[:_SHOWN]) + (", ..." if len(by_key) > _SHOWN else "")
            raise InvalidRunRequestError(
                f"Field 'job_keys': the run has no job '{job_key.strip()}'; its jobs are: {known}"
            )
    return [by_key[job_key] for job_key in dict.fromkeys(key.strip() for key in job_keys)]


async def _sort_out(store: ObjectStore, jobs: Sequence[RunJob]) -> tuple[list[_Lockable], list[NotLocked]]:
    of_scene: dict[str, _Lockable] = {}
    skipped: list[NotLocked] = []
    for job in jobs:
        found = _lockable(job)
        if isinstance(found, _Lockable) and await store.size(found.picture.path) != found.picture.size_bytes:
            found = NotLocked(
                job.job_key, f"The picture of job '{job.job_key}' is missing or changed: {found.picture.path}"
            )
        if isinstance(found, NotLocked):
            skipped.append(found)
        elif (earlier := of_scene.get(found.scene.sha256)) is not None:
            reason = f"Job '{job.job_key}' has the same scene as '{earlier.job.job_key}', which is locked"
            skipped.append(NotLocked(job.job_key, reason))
        else:
            of_scene[found.scene.sha256] = found
    return list(of_scene.values()), skipped


def _lockable(job: RunJob) -> _Lockable | NotLocked:
    index = job.selected_candidate_index
    candidate = next((one for one in job.candidates if one.candidate_index == index), None)
    if candidate is None:
        return NotLocked(job.job_key, f"Job '{job.job_key}' has no winner; select one of its candidates")
    try:
        entry = msgspec.convert(job.meta_json, JobLog)
    except msgspec.ValidationError:
        return NotLocked(
            job.job_key, f"The scene of job '{job.job_key}' is unknown, because another program made the job"
        )
    scene = next((given.file for given in entry.inputs if given.role == "scene"), None)
    made = [] if entry.candidates is msgspec.UNSET else entry.candidates
    picture = next((one.file for one in made if one.id == candidate.id), msgspec.UNSET)
    if scene is None or picture is msgspec.UNSET:
        return NotLocked(job.job_key, f"Job '{job.job_key}' has no picture or no recorded scene")
    return _Lockable(job, candidate, scene, picture)


async def _lock(
    session: AsyncSession,
    run: Run,
    lockable: Sequence[_Lockable],
    skipped: list[NotLocked],
    *,
    note: str,
    actor: UUID | None,
) -> LockedBaselines:
    # One lock per project at a time: two for the same scenes would each miss the other's rows.
    await session.execute(
        select(func.pg_advisory_xact_lock(func.hashtextextended(f"baselines {run.project_id}", 0)))
    )
    statement = select(Baseline).where(
        Baseline.project_id == run.project_id,
        Baseline.scene_sha256.in_([one.scene.sha256 for one in lockable]),
        Baseline.replaced_at.is_(None),
    )
    current = {row.scene_sha256: row for row in await session.scalars(statement)}
    stays = [one for one in lockable if _is(current.get(one.scene.sha256), one)]
    kept = {one.scene.sha256: current[one.scene.sha256] for one in stays}
    replaced = [row.id for sha256, row in current.items() if sha256 not in kept]
    now = utc_now()
    if replaced:
        await session.execute(update(Baseline).where(Baseline.id.in_(replaced)).values(replaced_at=now))
    new = {
        one.scene.sha256: _baseline(run, one, note=note, actor=actor)
        for one in lockable
        if one.scene.sha256 not in kept
    }
    for row in new.values():
        row.locked_at = now
    session.add_all(new.values())
    await session.flush()
    rows = [(new | kept)[one.scene.sha256] for one in lockable]
    if not new:
        return LockedBaselines(rows, skipped, None)
    what = {
        "run_id": str(run.id),
        "baselines": [{"id": str(row.id), "job_key": row.job_key} for row in new.values()],
        "replaced": [str(identifier) for identifier in replaced],
    }
    event = await audit.record(
        session, code="baseline.lock", project_id=run.project_id, actor=actor, payload=what
    )
    await write_event(session, run.id, "notice", {"notice": "baseline_locked", **what})
    return LockedBaselines(rows, skipped, event.id)


def _is(row: Baseline | None, one: _Lockable) -> bool:
    return row is not None and (row.candidate_id, row.sha256) == (one.candidate.id, one.picture.sha256)


def _baseline(run: Run, one: _Lockable, *, note: str, actor: UUID | None) -> Baseline:
    return Baseline(
        project_id=run.project_id,
        scene_sha256=one.scene.sha256,
        scene_size_bytes=one.scene.size_bytes,
        scene_path=one.scene.path,
        run_id=run.id,
        job_id=one.job.id,
        job_key=one.job.job_key,
        candidate_id=one.candidate.id,
        candidate_index=one.candidate.candidate_index,
        asset_id=one.candidate.output_asset_id,
        path=one.picture.path,
        sha256=one.picture.sha256,
        size_bytes=one.picture.size_bytes,
        mime_type=one.picture.mime_type,
        width=one.picture.width,
        height=one.picture.height,
        stage=run.stage or "",
        time_of_day=run.time_of_day or "",
        weather=run.weather or "",
        note=note,
        locked_by=actor,
    )
