"""What a provider says that a call cost, and what no call can have cost."""

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from kroma.config import ProviderLimits
from kroma.costs.models import CostEvent
from kroma.ledger.errors import AnswerUnknownError
from kroma.ledger.models import CallStatus, ProviderCall
from kroma.ledger.outcomes import Answer
from kroma.ledger.reaper import Reconciler
from kroma.ledger.tool_calls import ToolCalls
from kroma.providers.base import AnswerUnusableError, EditRequest, ProviderAccess, ProviderPicture
from kroma.providers.fake import FakeOutcome, FakeProvider, FakeScript, flat_png
from kroma.runs.models import RunEvent
from kroma.spend.queries import project_spend
from support.harness.ledger_harness import Counter

pytestmark = pytest.mark.timeout(120)

PRICE = Decimal("0.04")


def paid(*outcomes: FakeOutcome, **options: Any) -> FakeProvider:
    return FakeProvider(FakeScript(outcomes=outcomes, cost_usd=PRICE, **options))


LIES = [
    pytest.param(Decimal(5_500_000), id="5.5 million USD"),
    pytest.param(Decimal("1e30"), id="beyond the column"),
    pytest.param(Decimal(-5), id="less than nothing"),
    pytest.param(Decimal("NaN"), id="no number"),
    pytest.param(Decimal("Infinity"), id="without end"),
]


async def _spent(counter: Counter, call: ProviderCall) -> Decimal:
    assert call.project_id is not None
    async with counter.db.reading() as reader:
        return (await project_spend(reader, call.project_id, since=None)).spent_usd


@pytest.mark.parametrize("lie", LIES)
async def test_a_cost_that_no_call_has_is_unknown_and_its_estimate_is_spent(
    counter: Counter, lie: Decimal
) -> None:
    job_id = await counter.job()
    await counter.buy(await counter.claim(job_id), paid(FakeOutcome(reported_usd=lie)))

    (call,) = await counter.calls(job_id)
    assert (call.status, call.cost_usd, call.price_usd) == (CallStatus.SETTLED, None, PRICE)
    assert call.error_code == "provider_cost_unknown"
    assert (call.error or "").startswith("Unknown cost: the provider reported")
    assert await _spent(counter, call) == PRICE
    async with counter.db.transaction() as session:
        (cost,) = await session.scalars(select(CostEvent))
        assert (cost.total_cost_usd, cost.meta_json["price"]) == (Decimal(0), "unknown")
        events = await session.scalars(select(RunEvent).where(RunEvent.run_id == call.run_id))
        notices = [event.data_json for event in events if event.kind == "notice"]
    assert [notice["code"] for notice in notices] == ["provider_cost_unknown"]


@pytest.mark.parametrize("lie", LIES)
async def test_a_charge_without_a_picture_is_believed_no_more(counter: Counter, lie: Decimal) -> None:
    job_id = await counter.job()
    with pytest.raises(AnswerUnusableError):
        await counter.buy(await counter.claim(job_id), paid(FakeOutcome(reported_usd=lie, unusable=True)))

    (call,) = await counter.calls(job_id)
    assert (call.status, call.cost_usd) == (CallStatus.SETTLED, None)
    assert await _spent(counter, call) == PRICE


@pytest.mark.parametrize("lie", LIES)
async def test_a_provider_that_is_asked_later_is_believed_no_more(counter: Counter, lie: Decimal) -> None:
    provider = paid(FakeOutcome(lost=True, reported_usd=lie), finds_calls=True)
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
    assert (call.status, call.cost_usd) == (CallStatus.SETTLED, None)
    assert await _spent(counter, call) == PRICE


@pytest.mark.parametrize("lie", LIES)
async def test_a_note_in_the_store_is_believed_no_more(counter: Counter, lie: Decimal) -> None:
    provider = paid(FakeOutcome(lost=True))
    job_id = await counter.job()
    with pytest.raises(AnswerUnknownError):
        await counter.buy(await counter.claim(job_id), provider)

    async def forged(*_: Any) -> Answer:
        return Answer(cost_usd=lie)

    async def access(*_: Any) -> ProviderAccess:
        return ProviderAccess()

    reconciler = Reconciler(counter.db, {"fake": provider}, find_answer=forged, find_access=access)
    assert await reconciler.reconcile() == 1

    (call,) = await counter.calls(job_id)
    assert (call.status, call.cost_usd) == (CallStatus.SETTLED, None)
    assert await _spent(counter, call) == PRICE


@pytest.mark.parametrize("lie", LIES)
async def test_a_tool_believes_no_more(counter: Counter, lie: Decimal) -> None:
    request = EditRequest(
        prompt="ink",
        scene=ProviderPicture(name="a.png", data=flat_png(4, 4, (9, 9, 9)), mime_type="image/png"),
        styles=(),
        stage="style",
        time_of_day="day",
        weather="clear",
        candidate_index=1,
        seed=1,
    )
    tool = ToolCalls(counter.db, paid(FakeOutcome(reported_usd=lie)), limits=ProviderLimits())
    bought = await tool.edit(request, call_key="tool_a", operation="image_edit")

    (call,) = await counter.calls()
    assert bought.result.cost_usd is None
    assert (call.status, call.cost_usd, call.error_code) == ("settled", None, "provider_cost_unknown")
