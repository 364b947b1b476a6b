"""Limits, pace, circuit and pauses hold for all workers together."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import select, update

from kroma.config import ProviderLimits
from kroma.db.engine import Database
from kroma.ledger import provider_limits as gates
from kroma.ledger.call_scheduler import CallScheduler
from kroma.ledger.errors import (
    AnswerUnknownError,
    CircuitOpenError,
    ClaimGoneError,
    ProjectPausedError,
    ProviderPausedError,
    RateLimitedError,
)
from kroma.ledger.models import CallStatus, ProviderGate
from kroma.ledger.reaper import Reconciler, reap_calls
from kroma.ledger.unpause import Unpause
from kroma.projects.models import Project
from kroma.provider_accounts.models import ProviderAccount
from kroma.providers.base import ProviderAccess, ProviderKeyRefusedError, ProviderRefusedError
from kroma.providers.fake import FakeOutcome, FakeProvider, FakeScript
from kroma.queue.messages import ExecuteJob
from kroma.runs.errors import RunCanceledError
from kroma.runs.models import JobStatus, Run, RunEvent, RunJob, RunStatus
from support.doubles.memory_queue import MemoryTaskQueue
from support.harness.ledger_harness import Counter, no_key_needed

pytestmark = pytest.mark.timeout(120)

PRICE = Decimal("0.04")


def scheduler(**limits: Any) -> CallScheduler:
    return CallScheduler(
        ProviderLimits(**limits),
        answer_grace=timedelta(milliseconds=50),
        first_retry=timedelta(milliseconds=10),
    )


def paid(*outcomes: FakeOutcome, **options: Any) -> FakeProvider:
    return FakeProvider(FakeScript(outcomes=outcomes, cost_usd=PRICE, **options))


async def set_gate(db: Database, *, of_project: bool = False, **values: Any) -> None:
    location = ProviderGate.project_id.is_not(None) if of_project else ProviderGate.project_id.is_(None)
    async with db.transaction() as session:
        await session.execute(update(ProviderGate).where(location).values(**values))


async def gate(db: Database, *, of_project: bool = False) -> ProviderGate:
    location = ProviderGate.project_id.is_not(None) if of_project else ProviderGate.project_id.is_(None)
    async with db.transaction() as session:
        return (await session.scalars(select(ProviderGate).where(location))).one()


async def test_fifty_calls_of_two_workers_are_never_more_than_three_at_a_time(
    counter: Counter, fresh_database_url: str
) -> None:
    provider = paid(FakeOutcome(delay_s=0.1))
    other = Database.connect(fresh_database_url)
    workers = [(counter.db, scheduler(concurrency=3)), (other, scheduler(concurrency=3))]
    claims = [await counter.claim(await counter.job()) for _ in range(50)]

    await asyncio.gather(
        *(
            counter.buy(claim, provider, db=workers[number % 2][0], scheduler=workers[number % 2][1])
            for number, claim in enumerate(claims)
        )
    )
    await other.close()

    assert 1 < provider.most_in_flight <= 3
    assert len(provider.charged) == len(set(provider.charged)) == 50


async def test_a_projects_own_limit_holds_it_back_and_no_other_project(counter: Counter) -> None:
    async with counter.db.transaction() as session:
        session.add(
            ProviderAccount(
                project_id=counter.project_id,
                provider_code="fake",
                display_name="fake",
                config_json={"max_concurrency": 1},
            )
        )
    other = await Counter.opened(counter.db, slug="other")
    narrow, wide = paid(FakeOutcome(delay_s=0.05)), paid(FakeOutcome(delay_s=1))
    shared = scheduler()

    await asyncio.gather(
        *[counter.buy(await counter.claim(await counter.job()), narrow, scheduler=shared) for _ in range(3)],
        *[other.buy(await other.claim(await other.job()), wide, scheduler=shared) for _ in range(2)],
    )

    assert narrow.most_in_flight == 1
    assert wide.most_in_flight == 2


async def test_calls_keep_the_distance_that_the_rate_asks_for(counter: Counter) -> None:
    provider = paid()
    slow = scheduler(requests_per_minute=600)
    claims = [await counter.claim(await counter.job()) for _ in range(4)]

    await asyncio.gather(*(counter.buy(claim, provider, scheduler=slow) for claim in claims))

    sent = sorted(call.sent_at for call in await counter.calls() if call.sent_at is not None)
    assert all(later - earlier >= timedelta(seconds=0.1) for earlier, later in pairwise(sent))


async def test_a_long_wait_for_the_rate_gives_the_job_back(counter: Counter) -> None:
    slow = scheduler(requests_per_minute=1)
    await counter.buy(await counter.claim(await counter.job()), paid(), scheduler=slow)
    job_id = await counter.job()

    with pytest.raises(RateLimitedError) as raised:
        await counter.buy(await counter.claim(job_id), paid(), scheduler=slow)

    assert timedelta(seconds=30) < raised.value.wait <= timedelta(minutes=1)
    assert raised.value.not_before is not None
    assert await counter.calls(job_id) == []


async def test_a_provider_that_asks_to_be_left_alone_is(counter: Counter) -> None:
    provider = paid(FakeOutcome(error="slow down", retryable=True, retry_after_s=60))

    for _ in range(2):
        with pytest.raises(RateLimitedError):
            await counter.buy(await counter.claim(await counter.job()), provider)

    assert len(provider.calls) == 1


async def test_the_circuit_opens_lets_one_call_try_and_closes_with_its_answer(counter: Counter) -> None:
    dead = paid(FakeOutcome(error="502", is_down=True))
    for _ in range(gates.FAILURES_TO_OPEN):
        with pytest.raises(ProviderRefusedError):
            await counter.buy(await counter.claim(await counter.job()), dead)
    with pytest.raises(CircuitOpenError):
        await counter.buy(await counter.claim(await counter.job()), dead)
    assert len(dead.calls) == gates.FAILURES_TO_OPEN

    await set_gate(counter.db, open_until=await counter.now())
    alive = paid(FakeOutcome(delay_s=0.3))
    claims = [await counter.claim(await counter.job()) for _ in range(5)]
    probe = asyncio.gather(*(counter.buy(claim, alive) for claim in claims), return_exceptions=True)
    outcomes = await probe

    refused = [outcome for outcome in outcomes if isinstance(outcome, CircuitOpenError)]
    assert (len(alive.calls), len(refused)) == (1, 4)
    closed = await gate(counter.db)
    assert (closed.failures, closed.open_until) == (0, None)
    async with counter.db.transaction() as session:
        events = select(RunEvent.data_json).where(RunEvent.kind == "notice").order_by(RunEvent.seq)
        codes = [data["code"] for data in await session.scalars(events)]
    assert codes == ["provider_circuit_open", "provider_circuit_closed"]


async def test_a_probe_that_fails_makes_the_wait_longer_up_to_five_minutes(counter: Counter) -> None:
    dead = paid(FakeOutcome(error="502", is_down=True))
    waits: list[float] = []
    for _ in range(gates.FAILURES_TO_OPEN + 6):
        with pytest.raises(ProviderRefusedError):
            await counter.buy(await counter.claim(await counter.job()), dead)
        state, now = await gate(counter.db), await counter.now()
        if state.open_until is not None:
            waits.append(round((state.open_until - now).total_seconds(), -1))
        await set_gate(counter.db, open_until=None)

    assert waits == pytest.approx([15, 30, 60, 120, 240, 300, 300], abs=6)


async def test_lost_answers_count_as_a_dead_provider(counter: Counter) -> None:
    dead = paid(FakeOutcome(lost=True))
    for _ in range(gates.FAILURES_TO_OPEN):
        with pytest.raises(AnswerUnknownError):
            await counter.buy(await counter.claim(await counter.job()), dead)

    with pytest.raises(CircuitOpenError):
        await counter.buy(await counter.claim(await counter.job()), dead)


async def test_a_dead_address_of_one_project_stops_no_other(counter: Counter) -> None:
    async def own_address() -> ProviderAccess:
        return ProviderAccess(base_url="https://images.example")

    dead = paid(FakeOutcome(error="502", is_down=True))
    for _ in range(gates.FAILURES_TO_OPEN):
        with pytest.raises(ProviderRefusedError):
            await counter.buy(await counter.claim(await counter.job()), dead, find_access=own_address)
    other = await Counter.opened(counter.db, slug="other")

    assert await other.buy(await other.claim(await other.job()), paid())
    with pytest.raises(CircuitOpenError):
        await counter.buy(await counter.claim(await counter.job()), dead, find_access=own_address)


async def test_a_refused_key_pauses_the_provider_until_there_is_another(counter: Counter) -> None:
    provider = paid(FakeOutcome(times=1, key_refused=True))
    with pytest.raises(ProviderPausedError, match="the key was refused"):
        await counter.buy(await counter.claim(await counter.job()), provider)
    with pytest.raises(ProviderPausedError):
        await counter.buy(await counter.claim(await counter.job()), provider)
    assert len(provider.calls) == 1
    job_id = await counter.job()
    async with counter.db.transaction() as session:
        await session.execute(
            update(RunJob)
            .where(RunJob.id == job_id)
            .values(status=JobStatus.QUEUED, error="paused", error_code="provider_paused")
        )

    queue = MemoryTaskQueue()
    unpause = Unpause(queue)
    async with counter.db.transaction() as session:
        await unpause.lift(session, counter.project_id, "fake")
    await unpause.notify()

    assert queue.messages == [ExecuteJob(job_id=job_id)]
    assert await counter.buy(await counter.claim(await counter.job()), provider)


async def test_a_key_that_was_changed_since_is_not_paused_for_the_old_ones_refusal(counter: Counter) -> None:
    sent_at = await counter.now()
    async with counter.db.transaction() as session:
        session.add(ProviderAccount(project_id=counter.project_id, provider_code="fake", display_name="fake"))
    async with counter.db.transaction() as session:
        paused = await gates.pause_provider(
            session,
            counter.project_id,
            "fake",
            reason_code="provider_key_refused",
            reason="the key was refused",
            sent_at=sent_at,
        )

    assert not paused
    assert await counter.buy(await counter.claim(await counter.job()), paid())


async def test_a_missing_key_pauses_the_provider_without_a_call(counter: Counter) -> None:
    async def no_key() -> ProviderAccess:
        raise ProviderKeyRefusedError("fake", "there is no API key")

    provider = paid()
    with pytest.raises(ProviderPausedError, match="there is no API key"):
        await counter.buy(await counter.claim(await counter.job()), provider, find_access=no_key)
    with pytest.raises(ProviderPausedError):
        await counter.buy(await counter.claim(await counter.job()), provider, find_access=no_key_needed)

    assert provider.calls == []
    assert await counter.calls() == []


async def test_a_stale_claim_enters_no_call(counter: Counter) -> None:
    job_id = await counter.job()
    stale = await counter.claim(job_id)
    await counter.claim(job_id)
    provider = paid()

    with pytest.raises(ClaimGoneError):
        await counter.buy(stale, provider)

    assert provider.calls == []
    assert await counter.calls() == []


async def test_no_call_leaves_once_the_run_is_being_cancelled(counter: Counter) -> None:
    claim = await counter.claim(await counter.job())
    async with counter.db.transaction() as session:
        await session.execute(update(Run).where(Run.id == counter.run_id).values(status=RunStatus.CANCELING))
    provider = paid()

    with pytest.raises(RunCanceledError):
        await counter.buy(claim, provider)

    assert provider.calls == []


async def test_no_call_leaves_while_the_project_is_paused(counter: Counter) -> None:
    claim = await counter.claim(await counter.job())
    async with counter.db.transaction() as session:
        await session.execute(update(Project).values(paused_at=await counter.now(), paused_reason="moving"))
    provider = paid()

    with pytest.raises(ProjectPausedError, match="moving"):
        await counter.buy(claim, provider)

    assert provider.calls == []


async def test_a_cancelled_runs_call_is_settled_although_nobody_waits_for_it(counter: Counter) -> None:
    provider = paid(FakeOutcome(delay_s=0.3))
    shared = scheduler()
    job_id = await counter.job()
    buying = asyncio.ensure_future(counter.buy(await counter.claim(job_id), provider, scheduler=shared))
    while not provider.calls:
        await asyncio.sleep(0.01)
    async with counter.db.transaction() as session:
        await session.execute(update(Run).where(Run.id == counter.run_id).values(status=RunStatus.CANCELING))

    buying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await buying
    assert [call.status for call in await counter.calls(job_id)] == ["sent"]
    shared.answer_grace = timedelta(seconds=10)
    await shared.drain()

    assert [(call.status, call.cost_usd) for call in await counter.calls(job_id)] == [("settled", PRICE)]


async def test_a_stopping_worker_writes_off_what_does_not_come_in_time(counter: Counter) -> None:
    provider = paid(FakeOutcome(delay_s=30))
    job_id = await counter.job()
    buying = asyncio.ensure_future(counter.buy(await counter.claim(job_id), provider))
    while not provider.calls:
        await asyncio.sleep(0.01)

    buying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await buying

    (call,) = await counter.calls(job_id)
    assert (call.status, call.error) == ("unknown", "No answer: CancelledError")


@pytest.mark.parametrize(
    ("status", "end"),
    [pytest.param("intent", "refused", id="never sent"), pytest.param("sent", "unknown", id="sent")],
)
async def test_the_calls_of_a_lost_worker_are_ended(counter: Counter, status: str, end: str) -> None:
    await counter.buy(await counter.claim(await counter.job()), paid())
    (call,) = await counter.calls()
    async with counter.db.transaction() as session:
        lost = type(call)(
            project_id=call.project_id,
            run_id=call.run_id,
            job_id=call.job_id,
            job_key=call.job_key,
            candidate_index=2,
            number=1,
            fence=call.fence,
            provider_code="fake",
            model_name="",
            operation="image_edit",
            status=status,
            sent_at=call.sent_at,
        )
        session.add(lost)
    await reap_calls(counter.db)
    assert [found.status for found in await counter.calls()] == ["settled", status]

    async with counter.db.transaction() as session:
        await session.execute(
            update(RunJob).values(lease_expires_at=await counter.now() - timedelta(minutes=1))
        )
    await reap_calls(counter.db)

    assert [found.status for found in await counter.calls()] == ["settled", end]


async def test_an_unknown_call_is_settled_once_the_provider_remembers_it(counter: Counter) -> None:
    provider = paid(FakeOutcome(lost=True), finds_calls=True)
    job_id = await counter.job()
    with pytest.raises(AnswerUnknownError):
        await counter.buy(await counter.claim(job_id), provider)

    async def nothing_kept(*_: Any) -> None:
        return None

    async def access(*_: Any) -> ProviderAccess:
        return ProviderAccess()

    reconciler = Reconciler(counter.db, {"fake": provider}, find_answer=nothing_kept, find_access=access)
    assert await reconciler.reconcile() == 1

    (call,) = await counter.calls(job_id)
    assert (call.status, call.resolution, call.cost_usd) == (CallStatus.SETTLED, "charged", PRICE)
    assert await reconciler.reconcile() == 0
