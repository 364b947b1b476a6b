"""A worker may end between any two writes: no candidate is charged twice, and no charge is forgotten."""

import asyncio
import random
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from kroma.errors import ProviderError
from kroma.ledger.call_scheduler import CallScheduler
from kroma.ledger.errors import AnswerNotKeptError, AnswerUnknownError, CallLaterError
from kroma.ledger.models import CallStatus
from kroma.providers.fake import FakeOutcome, FakeProvider, FakeScript
from support.harness.ledger_harness import Counter, KilledError, Life

pytestmark = pytest.mark.timeout(120)

PRICE = Decimal("0.04")


async def check_ledger(counter: Counter, provider: FakeProvider, job_id: UUID) -> None:
    """What the ledger says of a job, held against what the provider charged."""
    calls = await counter.calls(job_id)
    charged = [call.id for call in calls if call.id in provider.charged]
    assert len(charged) <= 1, "charged twice"
    assert provider.charged.count(charged[0]) == 1 if charged else True
    for call in calls:
        assert call.status in {CallStatus.SETTLED, CallStatus.REFUSED, CallStatus.UNKNOWN}
        if call.status == CallStatus.SETTLED:
            assert call.id in charged
        if call.status == CallStatus.REFUSED:
            assert call.id not in charged
    left = {call.call_id for call in provider.calls}
    assert [call.number for call in calls] == list(range(1, len(calls) + 1))
    assert {call.id for call in calls if call.sent_at is not None} >= left & {call.id for call in calls}


async def buy_to_the_end(counter: Counter, job_id: UUID, provider: FakeProvider) -> str:
    """Claims without a crash, until the candidate has an end."""
    for _ in range(10):
        claim = await counter.claim(job_id)
        try:
            await counter.buy(claim, provider)
        except CallLaterError:
            continue
        except ProviderError as exc:
            return exc.code
        return "made"
    raise AssertionError("no end")


async def test_a_worker_killed_at_any_point_is_charged_at_most_once(counter: Counter) -> None:
    counted = Life()
    await counter.buy(
        await counter.claim(await counter.job()), FakeProvider(FakeScript(cost_usd=PRICE)), life=counted
    )
    ends: set[str] = set()
    for point in range(1, counted.steps + 1):
        provider = FakeProvider(FakeScript(cost_usd=PRICE))
        job_id = await counter.job()
        claim = await counter.claim(job_id)
        with pytest.raises(KilledError):
            await counter.buy(claim, provider, life=Life(ends_at=point))

        ends.add(await buy_to_the_end(counter, job_id, provider))

        await check_ledger(counter, provider, job_id)
        assert len(provider.charged) <= 1
    assert ends == {"made", AnswerUnknownError.code}
    assert counted.steps >= 13


async def test_an_answer_that_was_kept_is_found_and_not_bought_again(counter: Counter) -> None:
    provider = FakeProvider(FakeScript(cost_usd=PRICE))
    counted = Life()
    await counter.buy(await counter.claim(await counter.job()), provider, life=counted)
    job_id = await counter.job()
    with pytest.raises(KilledError):
        # The last two steps are the settlement: the picture and its note lie in the store.
        await counter.buy(await counter.claim(job_id), provider, life=Life(ends_at=counted.steps - 1))
    (sent,) = await counter.calls(job_id)
    assert sent.status == CallStatus.SENT

    picture = await counter.buy(await counter.claim(job_id), provider)

    assert picture == counter.pictures[sent.id]
    (settled,) = await counter.calls(job_id)
    assert (settled.status, settled.cost_usd) == (CallStatus.SETTLED, PRICE)
    assert len(provider.calls) == 2


@pytest.mark.parametrize("charged", [True, False])
async def test_a_provider_that_remembers_is_asked_about_a_lost_answer(
    counter: Counter, *, charged: bool
) -> None:
    outcome = FakeOutcome(times=1, lost=True, error=None if charged else "lost on the way")
    provider = FakeProvider(FakeScript(outcomes=(outcome,), cost_usd=PRICE, finds_calls=True))
    job_id = await counter.job()
    with pytest.raises(AnswerUnknownError):
        await counter.buy(await counter.claim(job_id), provider)

    end = await buy_to_the_end(counter, job_id, provider)

    calls = await counter.calls(job_id)
    assert len(provider.charged) == 1
    if charged:
        assert end == AnswerNotKeptError.code
        assert [(call.status, call.resolution) for call in calls] == [("settled", "charged")]
    else:
        assert end == "made"
        assert [(call.status, call.resolution) for call in calls] == [
            ("refused", "not_charged"),
            ("settled", None),
        ]


async def test_lost_answers_are_never_sent_again_in_any_schedule(counter: Counter) -> None:
    for seed in range(100):
        dice = random.Random(seed)  # noqa: S311 - a schedule, no secret
        outcomes = tuple(
            dice.choice(
                [
                    FakeOutcome(times=1),
                    FakeOutcome(times=1, lost=True),
                    FakeOutcome(times=1, unusable=True),
                    FakeOutcome(times=1, error="busy", retryable=True, retry_after_s=0.01),
                    FakeOutcome(times=1, lost=True, error="lost on the way"),
                    FakeOutcome(times=1, delay_s=0.02),
                ]
            )
            for _ in range(4)
        )
        provider = FakeProvider(FakeScript(outcomes=outcomes, cost_usd=PRICE))
        job_id = await counter.job()
        for _ in range(dice.randint(0, 2)):
            claim = await counter.claim(job_id)
            scheduler = CallScheduler(answer_grace=timedelta(), first_retry=timedelta(milliseconds=10))
            life = Life(ends_at=dice.randint(1, 30)) if dice.random() < 0.6 else Life()
            buying = asyncio.ensure_future(counter.buy(claim, provider, scheduler=scheduler, life=life))
            if dice.random() < 0.4:
                await asyncio.wait((buying,), timeout=dice.random() * 0.05)
                buying.cancel()
            await asyncio.gather(buying, return_exceptions=True)
            await asyncio.gather(scheduler.drain(), return_exceptions=True)

        await buy_to_the_end(counter, job_id, provider)

        await check_ledger(counter, provider, job_id)
        statuses = [call.status for call in await counter.calls(job_id)]
        sent = [call.call_id for call in provider.calls]
        assert len(sent) == len(set(sent)), f"sent twice in schedule {seed}"
        assert CallStatus.UNKNOWN not in statuses[:-1], f"called again after a lost answer in {seed}"
