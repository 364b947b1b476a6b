"""Candidates that were made before of the same inputs: a retry or a rerun takes them and pays nothing."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import ARRAY, Text, Uuid, and_, any_, bindparam, select

from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.pipeline.execution.image_job import STEP_VERSION, Candidate, ImageJob
from kroma.runs.models import CandidateStatus, Run, RunCandidate, RunJob, RunStep


class FormerCandidate(NamedTuple):
    """A candidate as it was generated, and where its picture lies now."""

    input_hash: str
    candidate: Candidate
    key: str


def input_hash(
    job: ImageJob, *, scene: str, styles: Sequence[str], references: Sequence[str] = (), index: int
) -> str:
    """SHA-256, in hex, over everything that a generated candidate follows from.

    Args:
        job: What is made.
        scene: SHA-256 of the scene, in hex.
        styles: SHA-256 of each style reference, in hex, in order.
        references: Of each reference picture of a character.
        index: The candidate's, from 1.
    """
    parts: list[object] = [
        STEP_VERSION,
        job.planned.prompt,
        scene,
        list(styles),
        job.stage,
        job.time_of_day,
        job.weather,
        job.provider,
        job.model,
        job.size,
        job.quality,
        job.seed,
        index,
    ]
    if references:
        # Only where there are any: what was made before there could be some is found by its old hash.
        parts.append(list(references))
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


_FORMER: Final = Prepared(
    select(RunStep.input_hash, RunStep.output_json, RunCandidate.output_path)
    .join(RunJob, RunJob.id == RunStep.job_id)
    .join(Run, Run.id == RunJob.run_id)
    .join(
        RunCandidate,
        and_(
            RunCandidate.job_id == RunStep.job_id,
            RunCandidate.candidate_index == RunStep.output_json["index"].as_integer(),
        ),
    )
    .where(
        RunStep.input_hash == any_(bindparam("hashes", type_=ARRAY(Text()))),
        Run.project_id == bindparam("project_id", type_=Uuid()),
        RunStep.version == STEP_VERSION,
        RunStep.output_json["status"].as_string() == CandidateStatus.GENERATED,
        RunCandidate.output_path.is_not(None),
    )
    .order_by(RunStep.finished_at.desc())
)


class FormerCandidates:
    """Of one project."""

    def __init__(self, db: Database, project_id: UUID) -> None:
        self._db = db
        self._project_id = project_id

    async def find(self, hashes: Iterable[str]) -> list[FormerCandidate]:
        """What was made of these inputs, the latest first; a picture may have gone since."""
        rows = await self._db.fetch(_FORMER, {"hashes": tuple(hashes), "project_id": self._project_id})
        return [
            FormerCandidate(
                row["input_hash"], msgspec.convert(row["output_json"], Candidate), row["output_path"]
            )
            for row in rows
        ]
