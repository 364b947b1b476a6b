"""Tasks of runs: one message, one call into the pipeline."""

from datetime import timedelta
from uuid import UUID

from kroma.pipeline.claim import claim_job, claim_run
from kroma.pipeline.execute import run_claimed_job
from kroma.pipeline.finish import finish_claimed_run
from kroma.queue.messages import ExecuteJob, FinishRun
from kroma_worker.registry import TaskDeps, task
from kroma_worker.ring import ring


@task(ExecuteJob, limit=timedelta(minutes=30))
async def execute_job(deps: TaskDeps, message: ExecuteJob) -> None:
    """Carry one job to its end, and its run too if it was the last.

    Delivery is at least once, so ``claim_job`` answers None when another worker holds the lease
    or the job has ended.
    """
    claim = await claim_job(deps.place.db, message.job_id, worker=deps.worker)
    if claim is None:
        return
    again_in = await run_claimed_job(deps.place, claim)
    if again_in is not None:
        await ring(deps, message, delay=again_in)
        return
    await _finish_if_last(deps, claim.run_id)


@task(FinishRun, limit=timedelta(minutes=30))
async def finish_run(deps: TaskDeps, message: FinishRun) -> None:
    """Finish a run whose jobs have all ended; a dry run's whole work."""
    await _finish_if_last(deps, message.run_id)


async def _finish_if_last(deps: TaskDeps, run_id: UUID) -> None:
    claim = await claim_run(deps.place.db, run_id, worker=deps.worker)
    if claim is None:
        return
    again_in = await finish_claimed_run(deps.place, claim)
    if again_in is not None:
        await ring(deps, FinishRun(run_id=run_id), delay=again_in)
