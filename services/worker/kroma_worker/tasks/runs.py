"""Tasks of runs: one message, one call into the pipeline."""

from datetime import timedelta
from uuid import UUID

from kroma.pipeline.execution.claim import JobClaim, claim_job, claim_run, waits_for_quiet
from kroma.pipeline.execution.execute import run_claimed_job
from kroma.pipeline.execution.finish import finish_claimed_run
from kroma.queue.messages import ExecuteJob, FinishRun
from kroma.shares import project_share, shared_as
from kroma.sync.sweep import list_due_syncs
from kroma_worker.registry import TaskDeps, task
from kroma_worker.wakeups import notify


@task(ExecuteJob, limit=timedelta(minutes=30))
async def execute_job(deps: TaskDeps, message: ExecuteJob) -> None:
    """Carry one job to its end, and its run too if it was the last.

    Delivery is at least once, so ``claim_job`` answers None when another worker holds the lease
    or the job has ended. A job that lost several workers gets one that does nothing else meanwhile,
    so that it costs no other job an attempt.
    """
    db, lease = deps.context.db, deps.context.renewer.lease
    async with deps.slots.sharing():
        claim = await claim_job(db, message.job_id, worker=deps.worker, lease=lease, is_alone=False)
        if claim is not None:
            return await _carry_job(deps, message, claim)
    if await waits_for_quiet(db, message.job_id):
        async with deps.slots.alone():
            claim = await claim_job(db, message.job_id, worker=deps.worker, lease=lease)
            if claim is not None:
                return await _carry_job(deps, message, claim)
    return None


async def _carry_job(deps: TaskDeps, message: ExecuteJob, claim: JobClaim) -> None:
    with shared_as(project_share(claim.project_id)):
        again_in = await run_claimed_job(deps.context, claim)
    if again_in is not None:
        await notify(deps, message, delay=again_in)
        return
    await _finish_if_last(deps, claim.run_id)


@task(FinishRun, limit=timedelta(minutes=30))
async def finish_run(deps: TaskDeps, message: FinishRun) -> None:
    """Finish a run whose jobs have all ended; a dry run's whole work."""
    await _finish_if_last(deps, message.run_id)


async def _finish_if_last(deps: TaskDeps, run_id: UUID) -> None:
    lease = deps.context.renewer.lease
    claim = await claim_run(deps.context.db, run_id, worker=deps.worker, lease=lease)
    if claim is None:
        return
    again_in = await finish_claimed_run(deps.context, claim)
    if again_in is not None:
        await notify(deps, FinishRun(run_id=run_id), delay=again_in)
    elif claim.plan.storage_sync_s3:
        for message in await list_due_syncs(deps.context.db):
            await notify(deps, message, delay=timedelta())
