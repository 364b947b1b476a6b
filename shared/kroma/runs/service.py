"""Writing runs."""

from typing import Final, cast

from sqlalchemy import Insert, Table, bindparam, column, func, insert, select
from sqlalchemy.dialects.postgresql import JSONB

from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.runs.models import Run, RunJob

_RUNS: Final = cast("Table", Run.__table__)
_JOBS: Final = cast("Table", RunJob.__table__)
_RUN_COLUMNS: Final = (
    "id",
    "project_id",
    "run_mode",
    "status",
    "stage",
    "time_of_day",
    "weather",
    "model_name",
    "provider_code",
    "image_size",
    "image_quality",
    "candidates",
    "plan_json",
    "settings_snapshot_json",
    "storage_sync_s3",
    "run_log_path",
    "stdout",
    "stderr",
    "created_at",
    "fence",
    "attempt",
    "revision",
    "estimated_usd",
    "origin_run_id",
    "origin_kind",
    "idempotency_id",
)
_JOB_COLUMNS: Final = (
    "id",
    "run_id",
    "ordinal",
    "job_key",
    "status",
    "prompt_text",
    "meta_json",
    "created_at",
)


def _insertion() -> Insert:
    """One statement for a run and its jobs; the database checks the key between them at its end."""
    run = insert(_RUNS).values({name: bindparam(name, type_=_RUNS.c[name].type) for name in _RUN_COLUMNS})
    jobs = (
        func.jsonb_to_recordset(bindparam("jobs", type_=JSONB()))
        .table_valued(*(column(name, _JOBS.c[name].type) for name in _JOB_COLUMNS), name="job")
        .render_derived(with_types=True)
    )
    rows = select(*(jobs.c[name] for name in _JOB_COLUMNS))
    return insert(_JOBS).from_select(list(_JOB_COLUMNS), rows, include_defaults=False).add_cte(run.cte("run"))


_INSERTION: Final = Prepared(_insertion())


async def insert_run(db: Database, run: Run) -> None:
    """Insert a run that is in no session, with its jobs: all of it or nothing, in one round trip.

    Not through the unit of work: a person waits for the trigger's answer, and nothing here needs an
    order of flushes or fresh defaults.
    """
    jobs = [{name: vars(job)[name] for name in _JOB_COLUMNS} for job in run.jobs]
    await db.fetch(_INSERTION, vars(run) | {"jobs": jobs})
