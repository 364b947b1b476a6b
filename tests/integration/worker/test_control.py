"""Canceling, pausing, retrying and running again, with a worker in the test's own process."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from kroma.audit.models import AuditEvent
from kroma.auth.caller import OWNER
from kroma.leases.sweep import end_spent
from kroma.ledger.models import ProviderCall
from kroma.pipeline.control.cancel import cancel_run
from kroma.pipeline.control.derived_run import Spending
from kroma.pipeline.control.pause import pause_project, resume_project
from kroma.pipeline.control.rerun import rerun_run
from kroma.pipeline.control.retry import retry_run
from kroma.pipeline.execution.claim import claim_job
from kroma.pipeline.execution.sweep import fail_spent, list_due
from kroma.pipeline.planning.errors import (
    CallsUnresolvedError,
    InvalidRunRequestError,
    PlanningPreflightError,
    RunNotAgainError,
    SpendConfirmationRequiredError,
)
from kroma.providers.fake import FakeOutcome
from kroma.queue.messages import ExecuteJob, FinishRun
from kroma.runs.errors import RunNotFoundError
from kroma.runs.models import JobStatus, Run, RunEvent, RunJob, RunStatus
from kroma.spend.errors import BudgetExceededError
from kroma.spend.queries import project_spend, run_spend
from kroma.spend.service import set_budget
from kroma_api.schemas.run_control import RerunRunRequest
from support.harness.worker_harness import RowMapper, Studio

pytestmark = pytest.mark.timeout(60)

PRICE = Decimal("0.04")
RED, GRAY = (200, 40, 40), (90, 90, 90)


async def cancel(studio: Studio, run: Run) -> Run:
    return await cancel_run(
        studio.db, studio.stores, slug=studio.project.slug, run_id=str(run.id), actor=None
    )


def spending(studio: Studio, *, is_confirmed: bool = True) -> Spending:
    return Spending(providers=studio.providers, is_confirmed=is_confirmed, caller=OWNER, idempotency_id=None)


async def retry(studio: Studio, run: Run, *, is_confirmed: bool = True) -> Run:
    return await retry_run(
        studio.db,
        studio.queue,
        studio.stores,
        slug=studio.project.slug,
        run_id=str(run.id),
        spending=spending(studio, is_confirmed=is_confirmed),
    )


async def rerun(studio: Studio, run: Run, *, is_confirmed: bool = True, **changes: Any) -> Run:
    return await rerun_run(
        studio.db,
        studio.queue,
        studio.stores,
        studio.settings,
        is_confined=False,
        slug=studio.project.slug,
        run_id=str(run.id),
        changes=RerunRunRequest(**changes),
        spending=spending(studio, is_confirmed=is_confirmed),
    )


async def worked(studio: Studio, run: Run) -> RowMapper:
    await studio.work()
    return await studio.rows(run)


async def until(is_so: Callable[[], Awaitable[bool] | bool]) -> None:
    async with asyncio.timeout(20):
        while True:
            answer = is_so()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.01)


async def events(studio: Studio, code: str) -> list[dict[str, Any]]:
    async with studio.db.transaction() as session:
        statement = select(AuditEvent.payload_json).where(AuditEvent.event_code == code)
        return list(await session.scalars(statement.order_by(AuditEvent.created_at)))


async def budget(studio: Studio, limit: float, **more: Any) -> None:
    await set_budget(
        studio.db,
        slug=studio.project.slug,
        limit_usd=limit,
        period=more.get("period", "total"),
        warning_levels=more.get("warning_levels"),
        actor=None,
    )


async def test_a_queued_run_is_canceled_at_once_with_its_log(studio: Studio) -> None:
    run = await studio.trigger()

    canceled = await cancel(studio, run)

    assert (canceled.status, canceled.error_code) == (RunStatus.CANCELED, "run_canceled")
    assert canceled.finished_at is not None
    assert canceled.cancel_requested_at is not None
    assert canceled.run_log_path is not None
    assert (studio.root / canceled.run_log_path).exists()
    rows = await worked(studio, run)
    assert [job.status for job in rows.jobs] == ["canceled", "canceled"]
    assert studio.provider.calls == []
    assert await events(studio, "run.cancel") == [{"run_id": str(run.id)}]


async def test_a_dry_run_that_waits_is_canceled_too(studio: Studio) -> None:
    run = await studio.trigger(mode="dry", confirm_spend=None)

    assert (await cancel(studio, run)).status == RunStatus.CANCELED


async def test_cancelling_again_or_after_the_end_changes_nothing(studio: Studio) -> None:
    ended = (await studio.run_to_end(["harbor.png"])).run
    assert (await cancel(studio, ended)).status == RunStatus.OK
    run = await studio.trigger()
    first, second = await cancel(studio, run), await cancel(studio, run)

    assert (first.revision, first.finished_at) == (second.revision, second.finished_at)
    assert len(await events(studio, "run.cancel")) == 1


async def test_an_unknown_run_is_not_found(studio: Studio) -> None:
    with pytest.raises(RunNotFoundError):
        await cancel_run(studio.db, studio.stores, slug="comic", run_id="nothing", actor=None)


async def test_free_work_under_way_is_stopped(studio: Studio) -> None:
    studio.script(FakeOutcome(delay_s=3600))
    run = await studio.trigger()
    working = asyncio.ensure_future(studio.work())
    await until(lambda: len(studio.provider.calls) == 4)

    assert (await cancel(studio, run)).status == RunStatus.CANCELING

    await working
    rows = await studio.rows(run)
    assert rows.run.status == RunStatus.CANCELED
    assert {job.status for job in rows.jobs} == {"canceled"}


async def test_a_paid_call_in_flight_is_awaited_and_its_picture_kept(studio: Studio) -> None:
    studio.script(FakeOutcome(delay_s=0.5), cost_usd=PRICE)
    run = await studio.trigger(["harbor.png"], candidates=1)
    working = asyncio.ensure_future(studio.work())
    await until(lambda: len(studio.provider.calls) == 1)

    await cancel(studio, run)

    await working
    assert (await studio.rows(run)).run.status == RunStatus.CANCELED

    async def is_settled() -> bool:
        return await studio.db_value("SELECT status = 'settled' AND cost_usd = 0.04 FROM provider_calls")

    await until(is_settled)
    assert [cost.total_cost_usd for cost in (await studio.rows(run)).costs] == [PRICE]
    assert len(list((studio.root / "outputs" / str(run.id)).glob("*.png"))) == 1


async def test_a_cancel_that_races_with_the_workers_ends_every_run_once(studio: Studio) -> None:
    runs = [await studio.trigger(["harbor.png"], candidates=1) for _ in range(8)]

    answers, _ = await asyncio.gather(asyncio.gather(*(cancel(studio, run) for run in runs)), studio.work())

    await studio.work()
    assert {answer.status for answer in answers} <= {"canceled", "canceling", "ok", "running"}
    for run, answer in zip(runs, answers, strict=True):
        rows = await studio.rows(run)
        # One that was being finished just then has nothing left to cancel.
        assert rows.run.status == ("ok" if answer.status in {"ok", "running"} else "canceled")
        assert rows.jobs[0].status in {"canceled", "done"}
        assert rows.run.finished_at is not None


async def test_a_job_that_is_given_back_while_its_run_is_canceled_ends_with_the_sweep(studio: Studio) -> None:
    run = await studio.trigger(["harbor.png"])
    (message,) = await studio.job_messages(run)
    assert await claim_job(studio.db, message.job_id, worker="gone") is not None
    assert (await cancel(studio, run)).status == RunStatus.CANCELING
    async with studio.db.transaction() as session:
        await session.execute(
            update(RunJob)
            .where(RunJob.id == message.job_id)
            .values(status=JobStatus.QUEUED, lease_owner=None)
        )

    assert await claim_job(studio.db, message.job_id, worker="next") is None
    await end_spent(studio.db, fail_spent)

    assert await list_due(studio.db) == [FinishRun(run_id=run.id)]
    studio.queue.messages = [FinishRun(run_id=run.id)]
    assert (await worked(studio, run)).run.status == RunStatus.CANCELED


async def test_the_job_of_a_lost_worker_in_a_canceled_run_ends_with_the_sweep(studio: Studio) -> None:
    run = await studio.trigger(["harbor.png"])
    (message,) = await studio.job_messages(run)
    assert await claim_job(studio.db, message.job_id, worker="gone") is not None
    await cancel(studio, run)
    async with studio.db.transaction() as session:
        past = text("clock_timestamp() - interval '1 s'")
        await session.execute(update(RunJob).values(lease_expires_at=past))

    await end_spent(studio.db, fail_spent)

    (job,) = (await studio.rows(run)).jobs
    assert (job.status, job.error_code) == ("canceled", "run_canceled")


async def test_no_job_of_a_paused_project_is_claimed(studio: Studio) -> None:
    run = await studio.trigger()
    project = await pause_project(studio.db, slug="comic", reason=" moving ", actor=None)
    assert (project.paused_at is not None, project.paused_reason) == (True, "moving")

    await studio.work()

    assert [job.status for job in (await studio.rows(run)).jobs] == ["queued", "queued"]
    assert await list_due(studio.db) == []
    resumed = await resume_project(studio.db, studio.queue, slug="comic", actor=None)
    assert (resumed.paused_at, resumed.paused_reason) == (None, None)
    assert set(studio.queue.messages) == set(await studio.job_messages(run))
    assert (await worked(studio, run)).run.status == RunStatus.OK
    assert await events(studio, "project.pause") == [{"reason": "moving"}]
    assert await events(studio, "project.resume") == [{}]


async def test_pausing_twice_and_resuming_twice_change_nothing(studio: Studio) -> None:
    first = await pause_project(studio.db, slug="comic", reason="moving", actor=None)
    second = await pause_project(studio.db, slug="comic", reason=None, actor=None)
    assert (first.paused_at, first.paused_reason) == (second.paused_at, second.paused_reason)
    await resume_project(studio.db, studio.queue, slug="comic", actor=None)
    await resume_project(studio.db, studio.queue, slug="comic", actor=None)

    assert len(await events(studio, "project.pause")) == 1
    assert len(await events(studio, "project.resume")) == 1


async def test_a_job_under_way_goes_back_to_the_queue_at_the_cost_of_no_attempt(studio: Studio) -> None:
    studio.script(FakeOutcome(delay_s=3600, times=2))
    run = await studio.trigger(["harbor.png"])
    working = asyncio.ensure_future(studio.work())
    await until(lambda: len(studio.provider.calls) == 2)

    await pause_project(studio.db, slug="comic", reason=None, actor=None)

    await working
    (job,) = (await studio.rows(run)).jobs
    assert (job.status, job.attempt) == ("queued", 0)
    await resume_project(studio.db, studio.queue, slug="comic", actor=None)
    assert (await worked(studio, run)).run.status == RunStatus.OK


async def test_an_open_run_is_told_of_a_pause(studio: Studio) -> None:
    run = await studio.trigger()
    await pause_project(studio.db, slug="comic", reason="moving", actor=None)

    async with studio.db.transaction() as session:
        statement = select(RunEvent.data_json).where(RunEvent.run_id == run.id, RunEvent.kind == "notice")
        assert list(await session.scalars(statement)) == [{"paused": True, "reason": "moving"}]


async def test_a_retry_makes_the_failed_jobs_again_and_pays_for_nothing_twice(studio: Studio) -> None:
    studio.script(
        FakeOutcome(scene="tower", candidate=2, error="no"),
        FakeOutcome(scene="tower", candidate=1, rgb=GRAY),
        cost_usd=PRICE,
    )
    first = await studio.run_to_end(candidates=2)
    # Its worker was lost after the candidates: what was bought is there.
    async with studio.db.transaction() as session:
        await session.execute(text("ALTER TABLE run_jobs DISABLE TRIGGER job_moves"))
        await session.execute(text("ALTER TABLE runs DISABLE TRIGGER run_moves"))
        await session.execute(
            update(RunJob).where(RunJob.job_key == "style_2_tower").values(status=JobStatus.FAILED)
        )
        await session.execute(update(Run).values(status=RunStatus.FAILED))
        await session.execute(text("ALTER TABLE run_jobs ENABLE TRIGGER job_moves"))
        await session.execute(text("ALTER TABLE runs ENABLE TRIGGER run_moves"))
    made = len(studio.script(cost_usd=PRICE).calls)

    again = await retry(studio, first.run)

    assert (again.origin_kind, again.origin_run_id) == ("retry", first.run.id)
    assert again.estimated_usd == PRICE
    rows = await worked(studio, again)
    assert (made, [call.candidate_index for call in studio.provider.calls]) == (0, [2])
    assert (rows.run.status, [job.job_key for job in rows.jobs]) == (RunStatus.OK, ["style_2_tower"])
    assert [cost.total_cost_usd for cost in rows.costs] == [PRICE]
    taken, bought = rows.candidates["style_2_tower"]
    former = first.candidates["style_2_tower"][0]
    assert taken.meta_json["reused_from"] == str(former.id)
    assert "reused_from" not in bought.meta_json
    assert taken.output_path != former.output_path
    assert (studio.root / taken.output_path).read_bytes() == (studio.root / former.output_path).read_bytes()


async def test_a_retry_draws_with_another_seed_what_was_rejected(studio: Studio) -> None:
    (studio.settings.data_dir / "config").mkdir()
    (studio.settings.data_dir / "config/pipeline.settings.json").write_text(
        '{"manifest_path": "config/manifest.json"}'
    )
    guard = (
        '{"output_guard": {"enforce_grayscale": true, "max_chroma_delta": 2, "fail_on_chroma_exceed": true}}'
    )
    (studio.settings.data_dir / "config/manifest.json").write_text(guard)
    studio.script(FakeOutcome(rgb=RED))
    first = await studio.run_to_end(["harbor.png"], candidates=1)
    assert first.jobs[0].status == JobStatus.FAILED_OUTPUT_GUARD
    (rejected,) = studio.provider.calls

    again = await retry(studio, first.run, is_confirmed=False)

    await studio.work()
    _, second = studio.provider.calls
    assert second.seed != rejected.seed
    assert (await studio.rows(again)).run.origin_run_id == first.run.id


async def test_a_run_that_is_open_or_did_not_fail_is_not_retried(studio: Studio) -> None:
    run = await studio.trigger()
    with pytest.raises(RunNotAgainError, match="is queued; wait until it has ended"):
        await retry(studio, run)
    await studio.work()
    with pytest.raises(RunNotAgainError, match="No job of the run failed"):
        await retry(studio, run)


async def test_a_run_of_a_foreign_log_is_not_made_again(studio: Studio) -> None:
    foreign = Run(project_id=studio.project.id, run_mode="run", status="failed", run_log_path="runs/x.json")
    async with studio.db.transaction() as session:
        session.add(foreign)
    with pytest.raises(RunNotAgainError, match="was not planned by this Kroma"):
        await rerun(studio, foreign)


async def failed_run(studio: Studio, **options: Any) -> Run:
    studio.script(FakeOutcome(error="no"), **options)
    rows = await studio.run_to_end(["harbor.png"], candidates=1)
    assert rows.run.status == RunStatus.FAILED
    return rows.run


async def test_a_retry_of_a_paid_provider_must_be_confirmed_and_of_a_free_one_not(studio: Studio) -> None:
    paid = await failed_run(studio, cost_usd=PRICE)
    with pytest.raises(SpendConfirmationRequiredError):
        await retry(studio, paid, is_confirmed=False)
    free = await failed_run(studio)
    assert (await retry(studio, free, is_confirmed=False)).estimated_usd == 0


async def test_calls_that_nobody_knows_the_end_of_block_a_retry(studio: Studio) -> None:
    run = await failed_run(studio, cost_usd=PRICE)
    async with studio.db.transaction() as session:
        await session.execute(text("ALTER TABLE provider_calls DISABLE TRIGGER call_moves"))
        await session.execute(update(ProviderCall).values(status="unknown"))
        await session.execute(text("ALTER TABLE provider_calls ENABLE TRIGGER call_moves"))

    with pytest.raises(CallsUnresolvedError, match=r"candidate 1 of 'style_1_harbor'.*resolve"):
        await retry(studio, run)


async def test_of_many_retries_at_once_one_is_made(studio: Studio) -> None:
    run = await failed_run(studio)

    answers = await asyncio.gather(*(retry(studio, run) for _ in range(8)), return_exceptions=True)

    assert sum(isinstance(answer, Run) for answer in answers) == 1
    refused = [answer for answer in answers if not isinstance(answer, Run)]
    assert all(isinstance(answer, RunNotAgainError) for answer in refused)
    async with studio.db.transaction() as session:
        assert await session.scalar(select(func.count()).where(Run.origin_run_id == run.id)) == 1


async def test_a_rerun_without_changes_calls_nobody_and_costs_nothing(studio: Studio) -> None:
    studio.script(cost_usd=PRICE)
    first = await studio.run_to_end()
    await budget(studio, float(4 * PRICE))

    again = await rerun(studio, first.run, is_confirmed=False)

    assert (again.origin_kind, again.estimated_usd) == ("rerun", 0)
    rows = await worked(studio, again)
    assert rows.run.status == RunStatus.OK
    assert len(studio.provider.calls) == 4
    assert rows.costs == []
    assert (studio.root / rows.jobs[0].final_output).exists()
    async with studio.db.transaction() as session:
        spent = await project_spend(session, studio.project.id, since=None)
        assert (spent.spent_usd, spent.held_usd) == (4 * PRICE, 0)
        assert (await run_spend(session, again.id)).committed_usd == 0


async def test_a_rerun_makes_only_what_is_new(studio: Studio) -> None:
    first = await studio.run_to_end(["harbor.png"], candidates=2)

    rows = await worked(studio, await rerun(studio, first.run, candidates=3))

    assert sorted(call.candidate_index for call in studio.provider.calls) == [1, 2, 3]
    assert len(rows.candidates["style_1_harbor"]) == 3


async def test_a_picture_that_was_changed_or_removed_is_made_again(studio: Studio) -> None:
    first = await studio.run_to_end(["harbor.png"], candidates=2)
    changed, removed = (studio.root / one.output_path for one in first.candidates["style_1_harbor"])
    changed.write_bytes(b"something else")
    removed.unlink()

    await worked(studio, await rerun(studio, first.run))

    assert len(studio.provider.calls) == 4


async def test_a_rerun_of_a_changed_scene_makes_everything_anew(studio: Studio) -> None:
    first = await studio.run_to_end(["harbor.png"], candidates=1)
    scene = studio.root / "harbor.png"
    scene.write_bytes((studio.root / "tower.png").read_bytes())

    await worked(studio, await rerun(studio, first.run))

    assert len(studio.provider.calls) == 2


async def test_a_rerun_in_another_light_asks_with_other_words(studio: Studio) -> None:
    first = await studio.run_to_end(["harbor.png"], candidates=1)

    rows = await worked(studio, await rerun(studio, first.run, stage="time", time="night", seed=7))

    assert (rows.run.stage, rows.run.time_of_day) == ("time", "night")
    assert rows.jobs[0].job_key == "time_1_harbor"
    before, after = studio.provider.calls
    assert before.prompt != after.prompt
    assert after.seed == 7


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        pytest.param({"candidates": 7}, InvalidRunRequestError, "between 1 and 6", id="too many candidates"),
        pytest.param({"time": "night"}, InvalidRunRequestError, "requires stage", id="light without stage"),
        pytest.param({"stage": "ink"}, InvalidRunRequestError, "must be one of", id="no stage"),
        pytest.param({"provider": "nobody"}, PlanningPreflightError, "provider", id="no provider"),
        pytest.param({"quality": "high"}, PlanningPreflightError, "quality", id="a choice not taken"),
    ],
)
async def test_a_change_that_breaks_a_rule_is_refused(
    studio: Studio, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    first = await studio.run_to_end(["harbor.png"], candidates=1)

    with pytest.raises(error, match=message):
        await rerun(studio, first.run, **changes)


async def test_a_rerun_whose_scene_has_gone_is_refused(studio: Studio) -> None:
    first = await studio.run_to_end(["harbor.png"], candidates=1)
    (studio.root / "harbor.png").unlink()

    with pytest.raises(PlanningPreflightError, match=r"harbor\.png"):
        await rerun(studio, first.run)


async def test_fifty_confirmations_at_once_against_a_budget_for_ten_accept_ten(studio: Studio) -> None:
    studio.script(cost_usd=PRICE)
    await budget(studio, float(10 * PRICE))

    answers = await asyncio.gather(
        *(studio.trigger(["harbor.png"], candidates=1) for _ in range(50)), return_exceptions=True
    )

    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert len(answers) - len(refused) == 10
    assert all(isinstance(answer, BudgetExceededError) for answer in refused)
    async with studio.db.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(Run)) == 10
        spend = await project_spend(session, studio.project.id, since=None)
    assert (spend.spent_usd, spend.held_usd) == (0, 10 * PRICE)
    await studio.work()
    async with studio.db.transaction() as session:
        spend = await project_spend(session, studio.project.id, since=None)
    assert (spend.spent_usd, spend.held_usd) == (10 * PRICE, 0)
    assert len(studio.provider.calls) == 10


async def test_what_a_canceled_run_did_not_spend_is_free_again(studio: Studio) -> None:
    studio.script(cost_usd=PRICE)
    await budget(studio, float(2 * PRICE))
    run = await studio.trigger(["harbor.png"], candidates=2)
    with pytest.raises(BudgetExceededError, match=r"0\.08 USD in all.*0\.00 USD is spent, 0\.08 USD is held"):
        await studio.trigger(["tower.png"], candidates=1)

    await cancel(studio, run)

    assert (await studio.trigger(["tower.png"], candidates=2)).estimated_usd == 2 * PRICE


async def test_a_call_beyond_what_its_run_was_confirmed_for_does_not_pass_the_budget(studio: Studio) -> None:
    provider = studio.script(cost_usd=PRICE)
    run = await studio.trigger(["harbor.png"], candidates=1)
    async with studio.db.transaction() as session:
        await session.execute(update(Run).values(estimated_usd=PRICE / 2))
    await budget(studio, float(PRICE) * 0.75)

    rows = await worked(studio, run)

    assert (rows.run.status, rows.run.error_code) == (RunStatus.FAILED, "budget_exceeded")
    assert provider.calls == []


async def test_crossing_a_level_is_written_to_the_trail_once(studio: Studio) -> None:
    studio.script(cost_usd=PRICE)
    await budget(studio, 0.16, warning_levels=[0.5, 1.0], period="month")
    await studio.run_to_end(["harbor.png"], candidates=1)
    assert await events(studio, "budget.warning") == []

    await studio.run_to_end(["harbor.png"], candidates=1)
    await studio.run_to_end(["harbor.png"], candidates=1)

    (warning,) = await events(studio, "budget.warning")
    assert (warning["level"], warning["limit_usd"], warning["period"]) == (0.5, "0.160000", "month")


async def test_messages_of_a_paused_project_wait_for_its_resume(studio: Studio) -> None:
    run = await studio.trigger(["harbor.png"])
    (message,) = await studio.job_messages(run)
    await pause_project(studio.db, slug="comic", reason=None, actor=None)

    assert await claim_job(studio.db, message.job_id, worker="a") is None
    await resume_project(studio.db, studio.queue, slug="comic", actor=None)
    assert await claim_job(studio.db, message.job_id, worker="a") is not None
    assert ExecuteJob(job_id=message.job_id) in studio.queue.messages
