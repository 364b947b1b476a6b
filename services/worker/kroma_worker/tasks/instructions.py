"""Tasks of agent instructions."""

from datetime import timedelta

from kroma.queue.messages import DispatchInstruction
from kroma_worker.registry import TaskDeps, task
from kroma_worker.wakeups import notify


@task(DispatchInstruction, limit=timedelta(minutes=30))
async def dispatch_instruction(deps: TaskDeps, message: DispatchInstruction) -> None:
    """Send one instruction to its agent; after a passing failure it is queued again when it is due."""
    if deps.agents is None:
        return
    again_in = await deps.agents.dispatch(message.instruction_id, worker=deps.worker)
    if again_in is not None:
        await notify(deps, message, delay=again_in)
