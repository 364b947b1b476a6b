"""Writing runs."""

from typing import Final, cast

from sqlalchemy import ColumnElement, Select, Table, bindparam, column, exists, func, insert, select
from sqlalchemy import cast as cast_to
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

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


def insertion(*, only_if: ColumnElement[bool] | None = None) -> Select[int]:
    """One statement for a run and its jobs; the database checks the key between them at its end.

    Args:
        only_if: Nothing is inserted unless this holds.

    Returns:
        A statement that takes `insertion_values` and says how many runs were inserted.
    """
    given = [
        cast_to(bindparam(f"run_{name}", type_=_RUNS.c[name].type), _RUNS.c[name].type)
        for name in _RUN_COLUMNS
    ]
    new_run = select(*given) if only_if is None else select(*given).where(only_if)
    run = (
        insert(_RUNS)
        .from_select(list(_RUN_COLUMNS), new_run, include_defaults=False)
        .returning(_RUNS.c.id)
        .cte("run")
    )
    jobs = (
        func.jsonb_to_recordset(bindparam("jobs", type_=JSONB()))
        .table_valued(*(column(name, _JOBS.c[name].type) for name in _JOB_COLUMNS), name="job")
        .render_derived(with_types=True)
    )
    rows = select(*(jobs.c[name] for name in _JOB_COLUMNS)).where(exists(select(run.c.id)))
    made = insert(_JOBS).from_select(list(_JOB_COLUMNS), rows, include_defaults=False).cte("made")
    return select(func.count()).select_from(run).add_cte(made)


def insertion_values(run: Run) -> dict[str, object]:
    """What `insertion` takes of a run that is in no session, with its jobs."""
    given = vars(run)
    values: dict[str, object] = {f"run_{name}": given[name] for name in _RUN_COLUMNS}
    values["jobs"] = [{name: vars(job)[name] for name in _JOB_COLUMNS} for job in run.jobs]
    return values


_INSERTION: Final = insertion()


async def insert_run(session: AsyncSession, run: Run) -> None:
    """Insert a run that is in no session, with its jobs, in one round trip."""
    await session.execute(_INSERTION, insertion_values(run))
