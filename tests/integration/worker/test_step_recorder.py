"""What is recorded of a job's steps, when, and together with what."""

import asyncio
from uuid import UUID

import pytest
from sqlalchemy import select

from kroma.db.base import utc_now
from kroma.leases.claim import ClaimLostError
from kroma.pipeline.execution.claim import JobClaim, claim_job
from kroma.pipeline.execution.execute import run_claimed_job
from kroma.pipeline.execution.image_job import ImageJob
from kroma.pipeline.execution.step_recorder import TableRecorder
from kroma.pipeline.execution.step_tools import StepTools
from kroma.pipeline.execution.steps import STEPS, Step
from kroma.providers.fake import FakeOutcome
from kroma.runs.models import Run, RunEvent, RunStep
from support.harness.worker_harness import Studio

pytestmark = pytest.mark.timeout(60)

ALL = ["generate/1", "generate", "check_quality/1", "check_quality", "rank"]


async def recorded(studio: Studio, job_id: UUID) -> list[str]:
    """The names of the recorded steps, in the order they finished."""
    async with studio.db.transaction() as session:
        found = await session.scalars(
            select(RunStep.name).where(RunStep.job_id == job_id).order_by(RunStep.finished_at, RunStep.name)
        )
        return list(found)


async def told(studio: Studio, run: Run) -> list[str]:
    """The steps that the run's events name, in order."""
    async with studio.db.transaction() as session:
        found = await session.scalars(
            select(RunEvent.data_json["step"].astext)
            .where(RunEvent.run_id == run.id, RunEvent.kind == "step")
            .order_by(RunEvent.seq)
        )
        return list(found)


async def one_job(studio: Studio) -> tuple[Run, JobClaim]:
    run = await studio.trigger(["harbor.png"], candidates=1)
    (message,) = await studio.job_messages(run)
    claim = await claim_job(studio.db, message.job_id, worker="a")
    assert claim is not None
    return run, claim


async def test_every_step_is_recorded_and_told_in_order(studio: Studio) -> None:
    run, claim = await one_job(studio)
    await run_claimed_job(studio.context, claim)

    assert await recorded(studio, claim.job_id) == ALL
    assert await told(studio, run) == ALL


async def test_a_held_step_is_written_with_the_next(studio: Studio) -> None:
    run, claim = await one_job(studio)
    recorder = TableRecorder(studio.db, claim)
    await recorder.record("first", {"n": 1}, started_at=utc_now(), input_hash="a" * 64, hold=True)
    before = await recorded(studio, claim.job_id), [step.name for step in await recorder.list_steps()]
    await recorder.record("second", {"n": 2}, started_at=utc_now())

    assert before == ([], ["first"])
    assert await recorded(studio, claim.job_id) == await told(studio, run) == ["first", "second"]
    assert await studio.db_value("SELECT input_hash FROM run_steps WHERE name = 'first'") == "a" * 64
    assert await studio.db_value("SELECT output_json->>'n' FROM run_steps WHERE name = 'second'") == "2"


async def test_a_held_step_of_a_lost_claim_is_not_written(studio: Studio) -> None:
    _, claim = await one_job(studio)
    recorder = TableRecorder(studio.db, claim)
    await recorder.record("first", {}, started_at=utc_now(), hold=True)
    await studio.db_value("UPDATE run_jobs SET fence = fence + 1 RETURNING 1")

    with pytest.raises(ClaimLostError):
        await recorder.flush()
    assert await recorded(studio, claim.job_id) == []


async def test_what_is_held_when_every_call_failed_is_written(studio: Studio) -> None:
    studio.script(FakeOutcome(error="no"))
    run, claim = await one_job(studio)
    await run_claimed_job(studio.context, claim)
    rows = await studio.rows(run)

    assert await recorded(studio, claim.job_id) == ["generate/1"]
    assert [one.status for one in rows.candidates["style_1_harbor"]] == ["failed"]
    assert rows.jobs[0].status == "failed"


@pytest.mark.parametrize("ending", [asyncio.CancelledError(), ConnectionError("gone"), ValueError("a bug")])
async def test_what_is_held_when_the_next_step_ends_early_is_not_done_again(
    studio: Studio, ending: BaseException
) -> None:
    async def interrupted(_job: ImageJob, _tools: StepTools) -> ImageJob:
        raise ending

    steps = tuple(Step("rank", interrupted, at_once=True) if one.name == "rank" else one for one in STEPS)
    run, claim = await one_job(studio)
    await asyncio.gather(run_claimed_job(studio.context, claim, steps=steps), return_exceptions=True)
    first = await recorded(studio, claim.job_id)
    await studio.db_value("UPDATE run_jobs SET available_at = NULL RETURNING 1")
    again = await claim_job(studio.db, claim.job_id, worker="b")
    assert again is not None
    await run_claimed_job(studio.context, again)

    assert first == ALL[:-1]
    assert await recorded(studio, claim.job_id) == await told(studio, run) == ALL
    assert len(studio.provider.calls) == 1
