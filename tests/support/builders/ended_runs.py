"""Runs that have ended with pictures, for tests without a worker."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import msgspec
from httpx import AsyncClient
from sqlalchemy import select, update

from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.pipeline.execution.image_job import Candidate, planned_job
from kroma.pipeline.execution.job_log import ended_log
from kroma.pipeline.planning.plan import RunPlan
from kroma.runlog.schema import FileLog, InputLog
from kroma.runs.models import CandidateStatus, JobStatus, Run, RunCandidate, RunJob
from support.builders.factories import scene_png


class MadeRun(NamedTuple):
    """A run of one scene with two pictures and one failed call."""

    run_id: str
    job_id: str
    outputs: list[str]


async def ended_run(
    client: AsyncClient, db: Database, slug: str, root: Path, *, scene: str = "scenes/a.png", **fields: Any
) -> MadeRun:
    """Trigger it, and write what a worker would."""
    body = {"mode": "run", "confirm_spend": True, "scene_refs": [scene], "candidates": 3, **fields}
    reply = await client.post(f"/api/projects/{slug}/runs/trigger", json=body)
    assert reply.status_code == 202, reply.text
    run_id = UUID(reply.json()["run"]["id"])
    async with db.transaction() as session:
        run = await session.get_one(Run, run_id)
        job = (await session.scalars(select(RunJob).where(RunJob.run_id == run_id))).one()
        plan = msgspec.convert(run.plan_json, RunPlan)
        planned = planned_job(plan, run_id=run_id, job_id=job.id, project_id=run.project_id, ordinal=0)
        made = [_made(run_id, index, root) for index in (1, 2)]
        failed = Candidate(id=uuid4(), index=3, status=CandidateStatus.FAILED, seed=1, provider="local")
        image_job = msgspec.structs.replace(
            planned,
            candidates=(*made, failed),
            inputs=(InputLog(ref=scene, role="scene", file=_file(root, scene)),),
        )
        entry = ended_log(
            plan,
            image_job,
            status=JobStatus.DONE,
            steps=(),
            attempts=1,
            started_at=utc_now(),
            finished_at=utc_now(),
        )
        for candidate in image_job.candidates:
            path = candidate.file.path if candidate.file else None
            session.add(
                RunCandidate(
                    id=candidate.id,
                    job_id=job.id,
                    candidate_index=candidate.index,
                    status=candidate.status,
                    output_path=path,
                    final_output_path=path,
                )
            )
        ended = {
            "selected_candidate_index": 1,
            "final_output": made[0].file and made[0].file.path,
            "meta_json": msgspec.to_builtins(entry),
        }
        for model, statuses, values in ((RunJob, ("running", "done"), ended), (Run, ("running", "ok"), {})):
            column = RunJob.run_id if model is RunJob else Run.id
            for status in statuses:
                await session.execute(update(model).where(column == run_id).values(status=status, **values))
    return MadeRun(str(run_id), str(job.id), [one.file.path for one in made if one.file])


def _made(run_id: UUID, index: int, root: Path) -> Candidate:
    path = f"outputs/{run_id}/style_1_a__c{index}.png"
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(scene_png(seed=10 + index))
    return Candidate(
        id=uuid4(),
        index=index,
        status=CandidateStatus.DONE,
        seed=1,
        provider="local",
        file=_file(root, path),
    )


def _file(root: Path, path: str) -> FileLog:
    data = (root / path).read_bytes()
    return FileLog(
        asset_id=uuid4(),
        path=path,
        storage_uri=str(root / path),
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        mime_type="image/png",
        width=192,
        height=128,
    )
