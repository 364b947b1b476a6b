"""Instructions in a worker: bell, task and sweep."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from kroma.cpu import CpuPool
from kroma.leases.renewer import LeaseRenewer
from kroma.pipeline.execution.wiring import WorkerContext
from kroma.queue.messages import DispatchInstruction
from kroma.storage.directory import DirectoryStores
from kroma_worker.main import TASK_MODULES
from kroma_worker.registry import TaskDeps, check_complete, dispatch
from kroma_worker.tasks import instructions
from kroma_worker.tasks.sweep import sweep_for_ever
from support.doubles.agent_server import AgentServer, Received, http, said
from support.harness.agent_harness import AgentHarness
from support.harness.worker_harness import url_of

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def deps(harness: AgentHarness) -> AsyncIterator[TaskDeps]:
    cpu = CpuPool(1)
    stores = DirectoryStores(harness.data_dir, allow_any_root=True)
    renewer = LeaseRenewer(url_of(harness.db))
    context = WorkerContext(db=harness.db, renewer=renewer, stores=stores, providers={}, cpu=cpu)
    yield TaskDeps(context=context, queue=harness.queue, worker="worker-1", agents=harness.dispatcher())
    await cpu.close()


class Heard:
    """An agent's reply that also says when it was asked."""

    def __init__(self, reply: bytes) -> None:
        self.asked = asyncio.Event()
        self._reply = reply

    async def __call__(self, _: Received) -> bytes:
        self.asked.set()
        return self._reply


@asynccontextmanager
async def working(deps: TaskDeps, *, sweeping: bool = False) -> AsyncIterator[None]:
    loops = [asyncio.ensure_future(deps.queue.consume(partial(dispatch, deps), concurrency=2))]
    if sweeping:
        loops.append(asyncio.ensure_future(sweep_for_ever(deps)))
    try:
        yield
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)


async def test_a_confirmation_rings_and_the_worker_sends(
    harness: AgentHarness, deps: TaskDeps, agent: AgentServer
) -> None:
    heard = Heard(said(status="done"))
    agent.script(heard)
    async with working(deps):
        await harness.confirmed()
        await heard.asked.wait()


async def test_the_sweep_finds_what_the_bell_missed(
    harness: AgentHarness, deps: TaskDeps, agent: AgentServer
) -> None:
    heard = Heard(said(status="done"))
    agent.script(heard)
    await harness.confirmed()
    harness.queue.messages.clear()
    async with working(deps, sweeping=True):
        await heard.asked.wait()


async def test_a_failure_in_passing_rings_for_the_next_attempt(
    harness: AgentHarness, deps: TaskDeps, agent: AgentServer
) -> None:
    agent.script(http(503))
    instruction_id = await harness.confirmed()
    harness.queue.messages.clear()
    await dispatch(deps, DispatchInstruction(instruction_id=instruction_id))

    assert await harness.queue.depth() == 1
    assert (await harness.row(instruction_id)).status == "confirmed"


def test_every_message_has_its_task() -> None:
    assert instructions in TASK_MODULES
    check_complete()
