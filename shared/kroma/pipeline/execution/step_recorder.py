"""Finished steps in the table: the reason a job that is claimed again does nothing twice."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar, cast
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import Select, String, Table, Uuid, bindparam, column, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.selectable import TableValuedAlias

from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.errors import InfraError
from kroma.leases.claim import ClaimLostError, held_by
from kroma.pipeline.execution.claim import JobClaim
from kroma.pipeline.execution.image_job import STEP_VERSION, Candidate, FinishedStep
from kroma.pipeline.execution.job_log import candidate_log
from kroma.runs.models import CandidateStatus, JobStatus, RunCandidate, RunJob, RunStep

T = TypeVar("T")

_STEPS: Final = cast("Table", RunStep.__table__)
_CANDIDATES: Final = cast("Table", RunCandidate.__table__)
_STEP_COLUMNS: Final = ("name", "version", "fence", "input_hash", "output_json", "started_at", "finished_at")
_CANDIDATE_COLUMNS: Final = (
    "candidate_index",
    "status",
    "output_path",
    "final_output_path",
    "rank_hard_failures",
    "rank_soft_warnings",
    "rank_avg_chroma_exceed",
    "meta_json",
)


def _record_statement() -> Select[Any, Any]:
    """One statement for steps, their candidates and events, all of it under the claim."""
    held = (
        select(RunJob.id)
        .where(
            *held_by(
                RunJob,
                row_id=bindparam("job_id"),
                fence=bindparam("fence", type_=RunJob.fence.type),
                worker=bindparam("worker"),
            ),
            RunJob.status == JobStatus.RUNNING,
        )
        .with_for_update(key_share=True)
        .cte("held")
    )
    steps = _rows_of("steps", _STEPS, ("id", *_STEP_COLUMNS))
    step = insert(_STEPS).from_select(
        ["job_id", "id", *_STEP_COLUMNS],
        select(held.c.id, *steps.c),
        include_defaults=False,
    )
    step = step.on_conflict_do_update(
        index_elements=["job_id", "name"], set_={name: step.excluded[name] for name in _STEP_COLUMNS}
    )
    given = _rows_of("candidates", _CANDIDATES, ("id", *_CANDIDATE_COLUMNS))
    candidates = insert(_CANDIDATES).from_select(
        ["job_id", "id", *_CANDIDATE_COLUMNS],
        select(held.c.id, *given.c),
        include_defaults=False,
    )
    candidates = candidates.on_conflict_do_update(
        index_elements=["job_id", "candidate_index"],
        set_={name: candidates.excluded[name] for name in _CANDIDATE_COLUMNS},
    )
    event = func.kroma_run_event(
        bindparam("run_id", type_=Uuid()),
        "step",
        func.jsonb_build_object(
            literal("job_id", String()), held.c.id, literal("step", String()), steps.c.name
        ),
    )
    # Rows of a function come in the order of its array, so events do in the order of the steps.
    written = select(held.c.id, event).select_from(held.join(steps, literal(value=True)))
    return written.add_cte(step.cte("written_steps"), candidates.cte("written_candidates"))


def _rows_of(parameter: str, table: Table, names: Sequence[str]) -> TableValuedAlias:
    """Objects of a parameter as rows with columns of a table."""
    columns = (column(name, table.c[name].type) for name in names)
    rows = func.jsonb_to_recordset(bindparam(parameter, type_=JSONB())).table_valued(*columns, name=parameter)
    return rows.render_derived(with_types=True)


_RECORD: Final = Prepared(_record_statement())
_STEPS_OF_JOB: Final = (
    select(
        RunStep.name,
        RunStep.version,
        RunStep.fence,
        RunStep.output_json,
        RunStep.started_at,
        RunStep.finished_at,
    )
    .where(RunStep.job_id == bindparam("job_id"))
    .order_by(RunStep.finished_at, RunStep.name)
)
_RECORDED: Final = Prepared(_STEPS_OF_JOB)


class StepUnreadableError(InfraError):
    """A recorded step is of a shape that this Kroma does not know; running it again may cost money again."""

    code = "step_unreadable"
    retryable = False

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"The recorded step '{name}' cannot be read: {problem}")


class TableRecorder:
    """Records under one claim, and knows what has been: while the claim holds, nobody else records."""

    def __init__(self, db: Database, claim: JobClaim) -> None:
        self._db = db
        self._claim = claim
        self._steps: dict[str, FinishedStep] | None = None
        self._held: list[dict[str, Any]] = []
        self._held_candidates: dict[int, dict[str, Any]] = {}
        if claim.fence == 1:
            self._steps = {}  # the first claim ever: nobody can have recorded anything

    async def find(self, name: str, kind: type[T]) -> T | None:
        step = (await self._find_known()).get(name)
        if step is None:
            return None
        try:
            if step.version != STEP_VERSION:
                problem = f"its version is {step.version}, not {STEP_VERSION}"
                raise StepUnreadableError(name, problem)
            return msgspec.convert(step.output_json, kind)
        except msgspec.ValidationError as exc:
            raise StepUnreadableError(name, str(exc)) from exc

    async def record(
        self,
        name: str,
        output: object,
        *,
        started_at: datetime,
        candidates: tuple[Candidate, ...] = (),
        input_hash: str | None = None,
        hold: bool = False,
    ) -> None:
        known = await self._find_known()
        step = FinishedStep(
            name=name,
            version=STEP_VERSION,
            fence=self._claim.fence,
            output_json=msgspec.to_builtins(output),
            started_at=started_at,
            finished_at=utc_now(),
        )
        self._held.append({"id": uuid4(), "input_hash": input_hash, **msgspec.structs.asdict(step)})
        for candidate in candidates:  # of what a candidate was and became, the table keeps the last
            self._held_candidates[candidate.index] = {"id": candidate.id, **candidate_row(candidate)}
        if not hold:
            await self.flush()
        known.pop(name, None)  # last in order, too
        known[name] = step

    async def flush(self) -> None:
        """Write what is held.

        Raises:
            ClaimLostError: A newer claim exists; nothing was written.
        """
        if not self._held:
            return
        values = {
            "job_id": self._claim.job_id,
            "fence": self._claim.fence,
            "worker": self._claim.worker,
            "run_id": self._claim.run_id,
            "steps": self._held,
            "candidates": list(self._held_candidates.values()),
        }
        self._held, self._held_candidates = [], {}
        if not await self._db.fetch(_RECORD, values):
            raise ClaimLostError

    async def list_steps(self) -> list[FinishedStep]:
        """Every finished step of the job, oldest first."""
        return list((await self._find_known()).values())

    async def _find_known(self) -> dict[str, FinishedStep]:
        if self._steps is None:
            rows = await self._db.fetch(_RECORDED, {"job_id": self._claim.job_id})
            steps = [FinishedStep(**row) for row in rows]
            if self._steps is None:
                self._steps = {step.name: step for step in steps}
        return self._steps


async def list_steps(session: AsyncSession, job_id: UUID) -> list[FinishedStep]:
    """Every finished step of a job, oldest first."""
    found = await session.execute(_STEPS_OF_JOB, {"job_id": job_id})
    return [FinishedStep(**row) for row in found.mappings()]


def candidate_row(candidate: Candidate) -> dict[str, Any]:
    """The columns a candidate fills, but for its ids."""
    path = candidate.file.path if candidate.file else None
    final = candidate.final.path if candidate.final else None
    return {
        "candidate_index": candidate.index,
        "status": candidate.status,
        "output_path": path,
        "final_output_path": final if candidate.status is CandidateStatus.DONE else None,
        "rank_hard_failures": candidate.rank.hard_failures,
        "rank_soft_warnings": candidate.rank.soft_warnings,
        "rank_avg_chroma_exceed": Decimal(str(candidate.rank.avg_chroma_exceed)),
        "meta_json": msgspec.to_builtins(candidate_log(candidate)),
    }
