"""Paid calls without a project: the gates, the ledger and lost answers hold for them, too."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import select, text, update

from kroma.audit.models import AuditEvent
from kroma.config import ProviderLimits
from kroma.costs.models import CostEvent
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.ledger.errors import AnswerUnknownError, CircuitOpenError, ProviderBusyError, RetriesSpentError
from kroma.ledger.models import CallStatus, ProviderCall, ProviderGate
from kroma.ledger.reaper import reap_calls
from kroma.ledger.service import resolve_call
from kroma.ledger.tool_calls import BoughtPicture, ToolCalls
from kroma.metrics import REGISTRY
from kroma.providers.base import AnswerUnusableError, EditRequest, ProviderPicture, ProviderRefusedError
from kroma.providers.fake import FakeOutcome, FakeProvider, FakeScript
from support.builders.factories import png

pytestmark = pytest.mark.timeout(60)

PRICE = Decimal("0.04")
LIMITS = ProviderLimits(retries=2)


def provider(*outcomes: FakeOutcome) -> FakeProvider:
    return FakeProvider(FakeScript(outcomes=outcomes, cost_usd=PRICE))


async def bought(
    db: Database, maker: FakeProvider, *, call_key: str = "tool_a", limits: ProviderLimits = LIMITS
) -> BoughtPicture:
    request = EditRequest(
        prompt="ink",
        scene=ProviderPicture(name="a.png", data=png(), mime_type="image/png"),
        styles=(),
        stage="style",
        time_of_day="day",
        weather="clear",
        candidate_index=1,
        seed=1,
    )
    return await ToolCalls(db, maker, limits=limits).edit(request, call_key=call_key, operation="image_edit")


async def calls(db: Database) -> list[ProviderCall]:
    async with db.transaction() as session:
        return list(await session.scalars(select(ProviderCall).order_by(ProviderCall.created_at)))


async def test_a_call_is_settled_with_its_cost_and_stands_in_the_trail(fresh_db: Database) -> None:
    maker = provider()
    made = await bought(fresh_db, maker)
    (call,) = await calls(fresh_db)

    assert (call.id, call.status, call.project_id, call.cost_usd) == (made.call_id, "settled", None, PRICE)
    assert (call.job_key, call.operation, call.request_id) == ("tool_a", "image_edit", "fake-1")
    assert [made.call_id] == [one.call_id for one in maker.calls]
    async with fresh_db.transaction() as session:
        (event,) = await session.scalars(select(AuditEvent).where(AuditEvent.event_code == "tool.call"))
        assert event.payload_json["price_usd"] == "0.04"
        assert list(await session.scalars(select(CostEvent))) == []


@pytest.mark.parametrize(
    ("outcome", "named", "cost"),
    [
        (FakeOutcome(), "answered", 0.04),
        (FakeOutcome(unusable=True), "unusable", 0.04),
        (FakeOutcome(error="never"), "refused", 0.0),
        (FakeOutcome(lost=True), "unknown", 0.0),
    ],
)
async def test_it_is_counted_with_the_calls_of_runs(
    fresh_db: Database, outcome: FakeOutcome, named: str, cost: float
) -> None:
    def counted() -> tuple[float, float]:
        labels = {"provider": "fake", "model": ""}
        calls = REGISTRY.get_sample_value("kroma_provider_calls_total", labels | {"outcome": named})
        paid = REGISTRY.get_sample_value("kroma_provider_cost_usd_total", labels)
        return calls or 0.0, paid or 0.0

    before = counted()
    with suppress(ProviderRefusedError, AnswerUnusableError, AnswerUnknownError):
        await bought(fresh_db, provider(outcome))
    after = counted()

    assert after[0] - before[0] == 1
    assert after[1] - before[1] == pytest.approx(cost)


async def test_the_call_is_committed_before_it_leaves(fresh_db: Database) -> None:
    maker = provider(FakeOutcome(delay_s=3600))
    task = asyncio.ensure_future(bought(fresh_db, maker))
    while not maker.calls:
        await asyncio.sleep(0.01)
    (call,) = await calls(fresh_db)
    task.cancel()
    await asyncio.wait((task,))

    assert (call.status, call.price_usd) == ("sent", PRICE)
    (call,) = await calls(fresh_db)
    assert (call.status, call.error) == ("unknown", "No answer: CancelledError")


async def test_a_clean_refusal_that_may_pass_is_tried_again(fresh_db: Database) -> None:
    maker = provider(FakeOutcome(error="full", retryable=True, times=1))
    made = await bought(fresh_db, maker)

    assert [(call.status, call.number) for call in await calls(fresh_db)] == [("refused", 1), ("settled", 2)]
    assert made.result.cost_usd == PRICE


async def test_refusals_come_to_an_end(fresh_db: Database) -> None:
    with pytest.raises(RetriesSpentError, match="asked 3 times"):
        await bought(fresh_db, provider(FakeOutcome(error="full", retryable=True, retry_after_s=0.01)))

    assert [call.status for call in await calls(fresh_db)] == ["refused"] * 3


async def test_a_refusal_for_good_is_not_tried_again(fresh_db: Database) -> None:
    with pytest.raises(ProviderRefusedError, match="never"):
        await bought(fresh_db, provider(FakeOutcome(error="never")))

    assert len(await calls(fresh_db)) == 1


async def test_an_answer_that_is_no_picture_is_paid(fresh_db: Database) -> None:
    with pytest.raises(AnswerUnusableError):
        await bought(fresh_db, provider(FakeOutcome(unusable=True)))
    (call,) = await calls(fresh_db)

    assert (call.status, call.cost_usd) == ("settled", PRICE)


async def test_a_lost_answer_is_not_asked_for_again_until_a_person_has_spoken(fresh_db: Database) -> None:
    maker = provider(FakeOutcome(lost=True, times=1))
    with pytest.raises(AnswerUnknownError) as lost:
        await bought(fresh_db, maker)
    with pytest.raises(AnswerUnknownError):
        await bought(fresh_db, maker)
    (call,) = await calls(fresh_db)
    assert call.status == "unknown"
    assert str(call.id) in lost.value.message
    assert len(maker.calls) == 1

    await bought(fresh_db, maker, call_key="tool_b")
    await resolve_call(
        fresh_db, slug=None, call_id=str(call.id), resolution="not_charged", cost_usd=None, actor=None
    )
    await bought(fresh_db, maker)

    assert len(maker.calls) == 3


async def test_a_call_whose_process_died_is_found_lost(fresh_db: Database) -> None:
    maker = provider()
    await bought(fresh_db, maker)
    async with fresh_db.transaction() as session:
        old = (await session.scalars(select(ProviderCall))).one()
        session.add(
            ProviderCall(
                job_key="tool_x",
                candidate_index=1,
                number=1,
                fence=0,
                provider_code="fake",
                model_name="",
                operation="image_edit",
                status=CallStatus.SENT,
                sent_at=utc_now() - timedelta(minutes=5),
            )
        )
        assert old.status == "settled"
    assert (await reap_calls(fresh_db)).unknown == 1

    with pytest.raises(AnswerUnknownError):
        await bought(fresh_db, maker, call_key="tool_x")


async def test_calls_of_tools_hold_places_of_all(fresh_db: Database) -> None:
    maker = provider(FakeOutcome(delay_s=3600, times=1))
    limits = ProviderLimits(concurrency=1)
    first = asyncio.ensure_future(bought(fresh_db, maker, limits=limits))
    while not maker.calls:
        await asyncio.sleep(0.01)
    with pytest.raises((ProviderBusyError, TimeoutError)):
        async with asyncio.timeout(1):
            await bought(fresh_db, maker, call_key="tool_b", limits=limits)
    first.cancel()
    await asyncio.wait((first,))

    assert maker.most_in_flight == 1


async def test_a_dead_provider_is_left_alone_by_tools_as_by_runs(fresh_db: Database) -> None:
    maker = provider(FakeOutcome(error="down", is_down=True))
    for number in range(5):
        with pytest.raises(ProviderRefusedError):
            await bought(fresh_db, maker, call_key=f"tool_{number}")
    with pytest.raises(CircuitOpenError):
        await bought(fresh_db, maker, call_key="tool_more")

    assert len(maker.calls) == 5
    async with fresh_db.transaction() as session:
        await session.execute(update(ProviderGate).values(open_until=text("clock_timestamp()")))
    maker = provider()
    await bought(fresh_db, maker, call_key="tool_more")
    async with fresh_db.transaction() as session:
        gate = (await session.scalars(select(ProviderGate))).one()
    assert (gate.project_id, gate.failures) == (None, 0)


async def test_the_pace_of_all_holds_for_tools(fresh_db: Database) -> None:
    limits = ProviderLimits(requests_per_minute=1)
    await bought(fresh_db, provider(), limits=limits)

    with pytest.raises(Exception, match="takes the next call in"):
        await bought(fresh_db, provider(), call_key="tool_b", limits=limits)
