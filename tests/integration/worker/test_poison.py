"""What would end a worker, or make it try for ever, ends itself instead; the rest goes on."""

import asyncio
import os
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from sqlalchemy import func, insert, select, update

from kroma.cpu import CpuPool
from kroma.db.base import utc_now
from kroma.leases.sweep import end_spent
from kroma.pipeline.execution.claim import claim_job, claim_run, waits_for_quiet
from kroma.pipeline.execution.image_job import STEP_VERSION
from kroma.pipeline.execution.sweep import fail_spent, list_due
from kroma.pipeline.planning.plan import FULLER_PLAN_VERSION
from kroma.providers.base import EditRequest, EditResult
from kroma.providers.fake import FakeOutcome, FakeProvider
from kroma.queue.arq import MESSAGES, ArqTaskQueue
from kroma.queue.messages import AnyMessage, ExecuteJob, FinishRun, encode, readable
from kroma.queue.models import QueueMessage
from kroma.queue.postgres import PostgresTaskQueue
from kroma.runs.models import Run, RunJob, RunStep
from kroma_worker.registry import TaskDeps, dispatch
from kroma_worker.slots import WorkerSlots
from support.harness.worker_harness import Studio

pytestmark = pytest.mark.timeout(120)


class NewMessage(msgspec.Struct, tag="PaintTheSky", tag_field="task"):
    """What a newer Kroma might send."""

    version: int = 1


UNREADABLE = [
    pytest.param(b"\xff\xff no message", id="no msgpack"),
    pytest.param(b"", id="empty"),
    pytest.param(msgspec.msgpack.encode({"task": "ExecuteJob"}), id="fields missing"),
    pytest.param(msgspec.msgpack.encode(NewMessage()), id="unknown kind"),
    pytest.param(encode(ExecuteJob(job_id=uuid4(), version=2)), id="newer version"),
]


async def expire(studio: Studio) -> None:
    past = func.clock_timestamp() - timedelta(seconds=1)
    async with studio.db.transaction() as session:
        await session.execute(update(RunJob).values(lease_expires_at=past))
        await session.execute(update(Run).values(lease_expires_at=past))


async def lose_worker(studio: Studio, *job_ids: UUID, is_alone: bool = False) -> None:
    """A worker claims these and dies."""
    for job_id in job_ids:
        await claim_job(studio.db, job_id, worker="dead", is_alone=is_alone)
    await expire(studio)


async def set_plan(studio: Studio, run: Run, **changes: Any) -> None:
    async with studio.db.transaction() as session:
        plan = await session.scalar(select(Run.plan_json).where(Run.id == run.id))
        changed = {**(plan or {}), **changes}
        await session.execute(update(Run).where(Run.id == run.id).values(plan_json=changed))


@pytest.mark.parametrize("payload", UNREADABLE)
def test_a_message_nobody_can_read_is_ignored(payload: bytes) -> None:
    assert readable(payload) is None


@pytest.mark.parametrize("kind", ["arq", "postgres"])
async def test_a_message_nobody_can_read_holds_up_no_other(studio: Studio, redis_url: str, kind: str) -> None:
    arrived: asyncio.Queue[AnyMessage] = asyncio.Queue()
    queue = ArqTaskQueue(redis_url, answer_within_s=30) if kind == "arq" else PostgresTaskQueue(studio.db)
    garbage = b"\xff\xff no message"
    if isinstance(queue, ArqTaskQueue):
        await queue._redis.rpush(MESSAGES, garbage, b"")  # noqa: SLF001 - nothing public sends garbage
    else:
        async with studio.db.transaction() as session:
            await session.execute(insert(QueueMessage).values(payload=garbage))
    message = ExecuteJob(job_id=uuid4())
    await queue.enqueue_many([message])
    consuming = asyncio.ensure_future(queue.consume(arrived.put, concurrency=1))
    async with asyncio.timeout(30):
        assert await arrived.get() == message
    consuming.cancel()
    await asyncio.gather(consuming, return_exceptions=True)
    await queue.close()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"candidates": "many"}, id="a field of another type"),
        pytest.param({"version": "new"}, id="a version that is no number"),
        pytest.param({"jobs": []}, id="fewer jobs than rows"),
    ],
)
async def test_a_plan_nobody_can_read_fails_its_run_with_the_reason(
    studio: Studio, changes: dict[str, Any]
) -> None:
    broken, sound = await studio.trigger(), await studio.trigger()
    await set_plan(studio, broken, **changes)
    await studio.work()
    studio.queue.messages = await list_due(studio.db)
    await studio.work()
    rows = await studio.rows(broken)
    assert [job.status for job in rows.jobs] == ["failed", "failed"]
    assert {job.error_code for job in rows.jobs} == {"plan_unreadable"}
    assert "cannot be read" in (rows.jobs[0].error or "")
    assert (rows.run.status, rows.run.error_code) == ("failed", "plan_unreadable")
    assert (await studio.rows(sound)).run.status == "ok"
    assert await list_due(studio.db) == []


async def test_a_newer_plan_is_left_for_a_newer_worker(studio: Studio) -> None:
    run, dry = await studio.trigger(), await studio.trigger(mode="dry", confirm_spend=None)
    for newer in (run, dry):
        await set_plan(studio, newer, version=FULLER_PLAN_VERSION + 1, unheard_of=True)
    await studio.work()
    assert await list_due(studio.db) == []
    rows = await studio.rows(run)
    assert (rows.run.status, [job.status for job in rows.jobs]) == ("queued", ["queued", "queued"])
    assert (await studio.rows(dry)).run.status == "queued"


async def record_step(studio: Studio, job_id: UUID, *, version: int, output: dict[str, Any]) -> None:
    now = utc_now()
    async with studio.db.transaction() as session:
        session.add(
            RunStep(
                job_id=job_id,
                name="generate/1",
                version=version,
                fence=1,
                output_json=output,
                started_at=now,
                finished_at=now,
            )
        )


async def test_a_job_with_newer_steps_is_left_for_a_newer_worker(studio: Studio) -> None:
    run = await studio.trigger(["harbor.png"])
    (message,) = await studio.job_messages(run)
    await lose_worker(studio, message.job_id)
    await record_step(studio, message.job_id, version=STEP_VERSION + 1, output={})
    assert await list_due(studio.db) == []
    assert await claim_job(studio.db, message.job_id, worker="old") is None


@pytest.mark.parametrize(
    ("version", "output"),
    [pytest.param(0, {}, id="unknown version"), pytest.param(STEP_VERSION, {"index": "x"}, id="broken")],
)
async def test_a_step_nobody_can_read_fails_its_job_and_asks_for_no_second_picture(
    studio: Studio, version: int, output: dict[str, Any]
) -> None:
    run = await studio.trigger()
    first, _ = await studio.job_messages(run)
    await lose_worker(studio, first.job_id)
    await record_step(studio, first.job_id, version=version, output=output)
    await studio.work()
    rows = await studio.rows(run)
    assert [job.status for job in rows.jobs] == ["failed", "done"]
    assert rows.jobs[0].error_code == "step_unreadable"
    assert "generate/1" in (rows.jobs[0].error or "")
    assert (1, "harbor.png") not in {(c.candidate_index, c.scene) for c in studio.provider.calls}


async def test_a_job_that_lost_two_workers_is_carried_alone(studio: Studio) -> None:
    run = await studio.trigger()
    poison, other = [message.job_id for message in await studio.job_messages(run)]
    await lose_worker(studio, poison, other)
    await lose_worker(studio, poison, other)
    # Neither is taken beside another ...
    assert await claim_job(studio.db, poison, worker="a", is_alone=False) is None
    assert await waits_for_quiet(studio.db, poison)
    # ... so the poisonous one takes only itself along.
    await lose_worker(studio, poison, is_alone=True)
    await end_spent(studio.db, fail_spent)
    studio.queue.messages = await list_due(studio.db)
    await studio.work()
    rows = await studio.rows(run)
    assert [job.status for job in rows.jobs] == ["failed", "done"]
    assert (rows.jobs[0].error, rows.jobs[0].error_code) == ("Its worker was lost 3 times", "worker_lost")
    assert rows.jobs[0].attempt == 3


async def test_a_suspect_waits_for_quiet_and_others_for_its_end(studio: Studio) -> None:
    studio.script(FakeOutcome(delay_s=0.2))
    run = await studio.trigger(candidates=1)
    suspect, _ = await studio.job_messages(run)
    for _ in range(2):
        await lose_worker(studio, suspect.job_id)
    most_at_once = 0
    running = 0
    edit = studio.provider.edit

    class Counting(FakeProvider):
        async def edit(self, request: EditRequest) -> EditResult:
            nonlocal running, most_at_once
            running += 1
            most_at_once = max(most_at_once, running)
            try:
                return await edit(request)
            finally:
                running -= 1

    studio.provider = Counting()
    deps = TaskDeps(context=studio.context, queue=studio.queue, worker="w", slots=WorkerSlots(4))
    await asyncio.gather(*(dispatch(deps, message) for message in await studio.job_messages(run)))
    assert (await studio.rows(run)).run.status == "ok"
    assert most_at_once == 1


async def test_what_is_in_hand_is_not_taken_twice(studio: Studio) -> None:
    deps = studio.deps
    run = await studio.trigger(["harbor.png"], candidates=1)
    (message,) = await studio.job_messages(run)
    await asyncio.gather(*(dispatch(deps, message) for _ in range(5)))
    assert len(studio.provider.calls) == 1


async def test_a_run_whose_finishing_costs_its_worker_every_time_ends(studio: Studio) -> None:
    run = await studio.trigger(mode="dry", confirm_spend=None)
    for _ in range(3):
        assert await claim_run(studio.db, run.id, worker="dead") is not None
        await expire(studio)
    assert await claim_run(studio.db, run.id, worker="a") is None
    await end_spent(studio.db, fail_spent)
    ended = (await studio.rows(run)).run
    assert (ended.status, ended.error_code) == ("failed", "worker_lost")
    assert "3 times" in ended.stderr
    assert FinishRun(run_id=run.id) not in await list_due(studio.db)


def die(*_: object, **__: object) -> None:
    os._exit(1)


async def test_a_picture_that_kills_its_process_fails_its_job_with_the_reason(studio: Studio) -> None:
    run = await studio.trigger(["harbor.png"], candidates=1)
    async with studio.db.transaction() as session:
        await session.execute(update(RunJob).values(max_attempts=1))
    pool = CpuPool(1)

    class Dying(CpuPool):
        async def run(self, function: Any, *args: Any, **kwargs: Any) -> Any:
            return await pool.run(die if function.__name__ == "verify" else function, *args, **kwargs)

    studio.cpu = Dying(1)
    await studio.work()
    await pool.close()
    rows = await studio.rows(run)
    assert (rows.jobs[0].status, rows.jobs[0].error_code) == ("failed", "picture_process_lost")
    assert rows.run.status == "failed"
