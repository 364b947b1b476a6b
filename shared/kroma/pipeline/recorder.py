"""Finished steps in the table: the reason a job that is claimed again does nothing twice."""

from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.pipeline.claim import JobClaim, hold_job
from kroma.pipeline.image_job import STEP_VERSION, Candidate
from kroma.pipeline.joblog import candidate_log
from kroma.runs.models import CandidateStatus, RunCandidate, RunStep

T = TypeVar("T")


class TableRecorder:
    """Records under one claim."""

    def __init__(self, db: Database, claim: JobClaim) -> None:
        self._db = db
        self._claim = claim
        self._earlier: dict[str, Any] | None = None
        if claim.fence == 1:
            self._earlier = {}  # the first claim ever: nobody can have recorded anything

    async def find(self, name: str, kind: type[T]) -> T | None:
        if self._earlier is None:
            # Read once: while the claim holds, nobody else writes steps of this job.
            steps = await self.list_steps()
            self._earlier = {step.name: step.output_json for step in steps if step.version == STEP_VERSION}
        output = self._earlier.get(name)
        return None if output is None else msgspec.convert(output, kind)

    async def record(
        self, name: str, output: object, *, started_at: datetime, candidates: tuple[Candidate, ...] = ()
    ) -> None:
        step = {
            "version": STEP_VERSION,
            "fence": self._claim.fence,
            "output_json": msgspec.to_builtins(output),
            "started_at": started_at,
            "finished_at": utc_now(),
        }
        async with self._db.transaction() as session:
            await hold_job(session, self._claim)
            await session.execute(
                insert(RunStep)
                .values(job_id=self._claim.job_id, name=name, **step)
                .on_conflict_do_update(index_elements=["job_id", "name"], set_=step)
            )
            for candidate in candidates:
                row = candidate_row(candidate)
                await session.execute(
                    insert(RunCandidate)
                    .values(id=candidate.id, job_id=self._claim.job_id, **row)
                    .on_conflict_do_update(index_elements=["job_id", "candidate_index"], set_=row)
                )

    async def list_steps(self) -> list[RunStep]:
        """Every finished step of the job, oldest first."""
        async with self._db.transaction() as session:
            return await list_steps(session, self._claim.job_id)


async def list_steps(session: AsyncSession, job_id: UUID) -> list[RunStep]:
    """Every finished step of a job, oldest first."""
    steps = select(RunStep).where(RunStep.job_id == job_id).order_by(RunStep.finished_at, RunStep.name)
    return list(await session.scalars(steps))


def candidate_row(candidate: Candidate) -> dict[str, Any]:
    """The columns a candidate fills, but for its ids."""
    path = candidate.file.path if candidate.file else None
    return {
        "candidate_index": candidate.index,
        "status": candidate.status,
        "output_path": path,
        "final_output_path": path if candidate.status is CandidateStatus.DONE else None,
        "rank_hard_failures": candidate.rank.hard_failures,
        "rank_soft_warnings": candidate.rank.soft_warnings,
        "rank_avg_chroma_exceed": Decimal(str(candidate.rank.avg_chroma_exceed)),
        "meta_json": msgspec.to_builtins(candidate_log(candidate)),
    }
