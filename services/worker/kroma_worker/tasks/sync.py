"""Tasks of copies of projects."""

from datetime import timedelta

from kroma.queue.messages import SyncProject
from kroma.sync.claim import claim_sync
from kroma_worker.registry import TaskDeps, task
from kroma_worker.wakeups import notify


@task(SyncProject, limit=timedelta(hours=24))
async def sync_project(deps: TaskDeps, message: SyncProject) -> None:
    """Carry one sync to its end; what may work later is queued again when it is due."""
    if deps.syncs is None:
        return
    context = deps.context
    claim = await claim_sync(context.db, message.sync_id, worker=deps.worker, lease=context.renewer.lease)
    if claim is None:
        return
    again_in = await deps.syncs().carry(context.renewer, claim)
    if again_in is not None:
        await notify(deps, message, delay=again_in)
