"""Tasks of copies of projects."""

from datetime import timedelta

from kroma.queue.messages import SyncProject
from kroma.sync.claim import claim_sync
from kroma_worker.registry import TaskDeps, task
from kroma_worker.wakeups import ring


@task(SyncProject, limit=timedelta(hours=24))
async def sync_project(deps: TaskDeps, message: SyncProject) -> None:
    """Carry one sync to its end; what may work later rings again when it is due."""
    if deps.syncs is None:
        return
    place = deps.place
    claim = await claim_sync(place.db, message.sync_id, worker=deps.worker, lease=place.keeper.lease)
    if claim is None:
        return
    again_in = await deps.syncs().carry(place.keeper, claim)
    if again_in is not None:
        await ring(deps, message, delay=again_in)
