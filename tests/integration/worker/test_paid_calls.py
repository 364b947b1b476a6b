"""Calls that cost money, through a worker and its ledger."""

from collections.abc import Sequence
from decimal import Decimal

import pytest
from sqlalchemy import delete, select, text, update

from kroma.costs.models import CostEvent
from kroma.ledger.models import ProviderCall
from kroma.ledger.unpause import Unpause
from kroma.providers.base import EditRequest, EditResult
from kroma.providers.fake import FakeOutcome, FakeProvider, FakeScript
from kroma.queue.messages import FinishRun
from kroma.runs.models import JobStatus, Run, RunJob, RunStatus, RunStep
from kroma.secrets.keyring import Keyring
from kroma.secrets.service import upsert_secret
from support.harness.worker_harness import Studio

pytestmark = pytest.mark.timeout(60)

PRICE = Decimal("0.04")


async def calls_of(studio: Studio) -> Sequence[ProviderCall]:
    async with studio.db.transaction() as session:
        order = (ProviderCall.job_key, ProviderCall.candidate_index, ProviderCall.number)
        return (await session.scalars(select(ProviderCall).order_by(*order))).all()


async def due_now(studio: Studio) -> None:
    async with studio.db.transaction() as session:
        await session.execute(update(RunJob).values(available_at=None))


async def work_to_the_end(studio: Studio, run: Run) -> None:
    for _ in range(20):
        await due_now(studio)
        studio.queue.messages = [*await studio.job_messages(run), FinishRun(run_id=run.id)]
        await studio.work()
        if (await studio.rows(run)).run.status not in {RunStatus.QUEUED, RunStatus.RUNNING}:
            return
    raise AssertionError("the run does not end")


async def test_a_call_is_settled_with_its_cost_and_one_cost_event(studio: Studio) -> None:
    provider = studio.script(cost_usd=PRICE)

    rows = await studio.run_to_end(candidates=2)

    assert rows.run.status == RunStatus.OK
    calls = await calls_of(studio)
    assert [(call.status, call.cost_usd, call.number) for call in calls] == [("settled", PRICE, 1)] * 4
    assert {call.id for call in calls} == set(provider.charged)
    assert [cost.total_cost_usd for cost in rows.costs] == [PRICE] * 4
    assert {cost.meta_json["provider_call_id"] for cost in rows.costs} == {str(call.id) for call in calls}
    assert {cost.job_id for cost in rows.costs} == {job.job_key for job in rows.jobs}
    assert all(call.request_id and call.sent_at and call.ended_at for call in calls)


async def test_a_free_provider_leaves_no_row(studio: Studio) -> None:
    await studio.run_to_end(candidates=1)

    assert await calls_of(studio) == []


async def test_a_clean_refusal_is_called_again_under_a_new_number(studio: Studio) -> None:
    provider = studio.script(FakeOutcome(times=2, error="busy", retryable=True), cost_usd=PRICE)

    rows = await studio.run_to_end(["harbor.png"], candidates=1)

    assert rows.run.status == RunStatus.OK
    calls = await calls_of(studio)
    assert [(call.number, call.status, call.cost_usd) for call in calls] == [
        (1, "refused", None),
        (2, "refused", None),
        (3, "settled", PRICE),
    ]
    assert len(provider.charged) == len(rows.costs) == 1


async def test_refusals_beyond_the_budget_fail_the_candidate(studio: Studio) -> None:
    studio.script(FakeOutcome(error="busy", retryable=True), cost_usd=PRICE)
    studio.scheduler.limits = type(studio.scheduler.limits)(retries=1)

    rows = await studio.run_to_end(["harbor.png"], candidates=1)

    assert rows.run.status == RunStatus.FAILED
    assert "asked 2 times" in (rows.run.error or "")
    assert [call.status for call in await calls_of(studio)] == ["refused", "refused"]
    assert rows.costs == []


async def test_a_refusal_for_good_is_not_repeated(studio: Studio) -> None:
    studio.script(FakeOutcome(candidate=1, error="moderated"), cost_usd=PRICE)

    rows = await studio.run_to_end(["harbor.png"], candidates=2)

    assert rows.run.status == RunStatus.OK
    assert [(call.candidate_index, call.status) for call in await calls_of(studio)] == [
        (1, "refused"),
        (2, "settled"),
    ]


async def test_a_lost_answer_is_unknown_and_never_sent_again(studio: Studio) -> None:
    provider = studio.script(FakeOutcome(candidate=1, lost=True), cost_usd=PRICE)

    rows = await studio.run_to_end(["harbor.png"], candidates=2)

    assert rows.run.status == RunStatus.OK
    lost, settled = await calls_of(studio)
    assert (lost.status, lost.error_code, lost.price_usd) == ("unknown", "provider_answer_lost", PRICE)
    assert settled.status == "settled"
    assert len(provider.calls) == 2
    assert len(rows.costs) == 1
    failed = rows.candidates["style_1_harbor"][0]
    assert failed.status == "failed"
    assert str(lost.id) in failed.meta_json["reason"]
    assert failed.meta_json["error_code"] == "provider_answer_lost"


async def test_an_answer_without_a_picture_is_charged_once(studio: Studio) -> None:
    studio.script(
        FakeOutcome(candidate=1, unusable=True), FakeOutcome(candidate=2, garbage=True), cost_usd=PRICE
    )

    rows = await studio.run_to_end(["harbor.png"], candidates=3)

    calls = await calls_of(studio)
    assert [(call.status, call.cost_usd) for call in calls] == [("settled", PRICE)] * 3
    assert calls[0].error_code == "provider_answer_unusable"
    assert [cost.total_cost_usd for cost in rows.costs] == [PRICE] * 3
    assert [c.status for c in rows.candidates["style_1_harbor"]] == ["failed", "failed", "done"]


async def test_an_unknown_cost_is_said_to_be_unknown(studio: Studio) -> None:
    class Priceless(FakeProvider):
        def estimate(self, request: EditRequest) -> None:  # noqa: ARG002 - the protocol's
            return None

        async def edit(self, request: EditRequest) -> EditResult:
            self.calls_seen = request.call_id
            answered = await FakeProvider(FakeScript()).edit(request)
            return EditResult(
                data=answered.data, mime_type="image/png", provider_code="fake", model="fake-1", cost_usd=None
            )

    studio.provider = Priceless(FakeScript(cost_usd=PRICE))

    rows = await studio.run_to_end(["harbor.png"], candidates=1)

    (call,) = await calls_of(studio)
    assert (call.status, call.cost_usd, call.price_usd) == ("settled", None, None)
    (cost,) = rows.costs
    assert cost.total_cost_usd == 0
    assert cost.meta_json["price"] == "unknown"


async def test_a_refused_key_gives_the_jobs_back_and_a_new_secret_finishes_the_run(studio: Studio) -> None:
    provider = studio.script(FakeOutcome(times=1, key_refused=True), cost_usd=PRICE)
    run = await studio.trigger(candidates=1)
    await studio.work()

    paused = await studio.rows(run)
    assert paused.run.status == RunStatus.RUNNING
    assert {(job.status, job.attempt, job.error_code) for job in paused.jobs} <= {
        ("queued", 0, "provider_paused"),
        ("queued", 0, None),
    }
    assert "the key was refused" in " ".join(job.error or "" for job in paused.jobs)
    studio.queue.messages = list(await studio.job_messages(run))
    await studio.work()
    assert len(provider.calls) == 1, "a paused provider's jobs are not claimed"

    unpause = Unpause(studio.queue)
    await upsert_secret(
        studio.db,
        Keyring(studio.settings.master_key),
        slug="comic",
        code="fake",
        name="api_key",
        value="another",
        actor=None,
        also=unpause.lift,
    )
    await unpause.notify()
    await work_to_the_end(studio, run)

    rows = await studio.rows(run)
    assert rows.run.status == RunStatus.OK
    assert {(job.attempt, job.error) for job in rows.jobs} == {(1, None)}
    assert len(provider.charged) == len(rows.costs) == 2


async def test_a_bought_picture_is_found_again_by_the_next_worker(studio: Studio) -> None:
    provider = studio.script(cost_usd=PRICE)
    rows = await studio.run_to_end(["harbor.png"], candidates=1)
    (bought,) = await calls_of(studio)
    job = rows.jobs[0]
    # As a worker leaves it that ended after it had kept the picture, and before it could settle.
    async with studio.db.transaction() as session:
        await session.execute(text("ALTER TABLE provider_calls DISABLE TRIGGER call_moves"))
        await session.execute(update(ProviderCall).values(status="sent", cost_usd=None, request_id=None))
        await session.execute(delete(CostEvent))
        await session.execute(delete(RunStep))
        await session.execute(text("ALTER TABLE run_jobs DISABLE TRIGGER job_moves"))
        await session.execute(update(RunJob).values(status=JobStatus.QUEUED, attempt=0))
        await session.execute(text("ALTER TABLE runs DISABLE TRIGGER run_moves"))
        await session.execute(update(Run).values(status=RunStatus.RUNNING, attempt=0, finished_at=None))

    await work_to_the_end(studio, rows.run)

    again = await studio.rows(rows.run)
    assert again.run.status == RunStatus.OK
    (call,) = await calls_of(studio)
    assert (call.id, call.status, call.cost_usd, call.request_id) == (
        bought.id,
        "settled",
        PRICE,
        "fake-1",
    )
    assert again.jobs[0].final_output == job.final_output
    assert len(provider.calls) == len(again.costs) == 1
