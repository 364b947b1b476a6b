"""Paid calls that were in flight when their run was canceled: paid for, so kept, logged and ingested."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from kroma.ledger.reaper import Reconciler, reap_calls
from kroma.pipeline.control.cancel import cancel_run
from kroma.pipeline.execution.found_answers import answer_finder
from kroma.pipeline.execution.late_answers import LateAnswers
from kroma.provider_accounts.access import no_access
from kroma.providers.base import EditRequest, EditResult
from kroma.providers.fake import FakeOutcome, FakeProvider, FakeScript
from kroma.runs.models import Run, RunStatus
from support.harness.worker_harness import RowMapper, Studio

pytestmark = pytest.mark.timeout(60)

PRICE = Decimal("0.04")


class Slow(FakeProvider):
    """Answers when it may."""

    def __init__(self, outcome: FakeOutcome) -> None:
        super().__init__(FakeScript(outcomes=(outcome,), cost_usd=PRICE))
        self.asked = 0
        self.may_answer = asyncio.Event()

    async def edit(self, request: EditRequest) -> EditResult:
        self.asked += 1
        await self.may_answer.wait()
        return await super().edit(request)


async def canceled_in_flight(
    studio: Studio, outcome: FakeOutcome | None = None, *, candidates: int = 1
) -> tuple[Run, Slow]:
    """A run that ended canceled while its calls were under way."""
    studio.provider = slow = Slow(outcome or FakeOutcome())
    run = await studio.trigger(["harbor.png"], candidates=candidates)
    working = asyncio.ensure_future(studio.work())
    async with asyncio.timeout(20):
        while slow.asked < candidates:
            await asyncio.sleep(0.01)
    await cancel_run(studio.db, studio.stores, slug=studio.project.slug, run_id=str(run.id), actor=None)
    await working
    rows = await studio.rows(run)
    assert rows.run.status == RunStatus.CANCELED
    assert rows.candidates == {"style_1_harbor": []}
    return run, slow


async def answered(studio: Studio, slow: Slow) -> None:
    slow.may_answer.set()
    async with asyncio.timeout(20):
        while await studio.db_value("SELECT count(*) FROM provider_calls WHERE status IN ('intent', 'sent')"):
            await asyncio.sleep(0.02)


async def written_down(studio: Studio, run: Run, slow: Slow) -> RowMapper:
    """What is known once all calls have ended, and their worker has looked."""
    late = LateAnswers(studio.db, studio.stores, studio.scheduler.left)
    assert await late.write_down() == 0, "nothing has come yet"
    assert len(studio.scheduler.left) == slow.asked
    await answered(studio, slow)
    assert await late.write_down() == slow.asked
    assert studio.scheduler.left == set()
    return await studio.rows(run)


def log_of(studio: Studio, rows: RowMapper) -> dict[str, Any]:
    return json.loads((studio.root / (rows.run.run_log_path or "")).read_bytes())


async def test_its_picture_is_logged_and_ingested_when_it_comes(studio: Studio) -> None:
    run, slow = await canceled_in_flight(studio, candidates=2)

    rows = await written_down(studio, run, slow)

    first, second = rows.candidates["style_1_harbor"]
    assert {first.status, second.status} == {"generated"}
    log = log_of(studio, rows)
    (entry,) = log["jobs"]
    assert [candidate["id"] for candidate in entry["candidates"]] == [str(first.id), str(second.id)]
    assert (log["status"], entry["status"]) == ("canceled", "canceled")
    assert rows.jobs[0].meta_json == entry
    assert {cost["id"] for cost in log["cost_events"]} == {str(cost.id) for cost in rows.costs}
    assert [cost.total_cost_usd for cost in rows.costs] == [PRICE] * 2
    pictures = {asset.rel_path for asset in rows.assets if asset.run_id == run.id}
    assert pictures == {first.output_path, second.output_path}
    assert all((studio.root / path).is_file() for path in pictures)
    notice = "SELECT data_json->>'code' FROM run_events WHERE kind = 'notice'"
    assert await studio.db_value(notice) == "late_answer"


async def test_doing_it_again_changes_nothing(studio: Studio) -> None:
    run, slow = await canceled_in_flight(studio)
    once = await written_down(studio, run, slow)

    # Another worker's, just started: it searches.
    assert await LateAnswers(studio.db, studio.stores, set()).write_down() == 0

    twice = await studio.rows(run)
    assert twice.run.revision == once.run.revision
    assert log_of(studio, twice) == log_of(studio, once)


async def test_a_charge_without_a_picture_is_logged_too(studio: Studio) -> None:
    run, slow = await canceled_in_flight(studio, FakeOutcome(unusable=True))

    rows = await written_down(studio, run, slow)

    (candidate,) = rows.candidates["style_1_harbor"]
    assert (candidate.status, candidate.output_path) == ("failed", None)
    assert candidate.meta_json["error_code"] == "provider_answer_unusable"
    assert [cost["cost_usd"] for cost in log_of(studio, rows)["cost_events"]] == [0.04]
    assert len(rows.costs) == 1


async def test_what_a_lost_worker_left_is_found_by_the_next_one(studio: Studio) -> None:
    run, slow = await canceled_in_flight(studio)
    await answered(studio, slow)
    # As a worker leaves it that ended after it had kept the picture, and before it could settle.
    async with studio.db.transaction() as session:
        await session.execute(text("ALTER TABLE provider_calls DISABLE TRIGGER call_moves"))
        lost = "status = 'sent', cost_usd = NULL, sent_at = now() - interval '1 hour'"
        await session.execute(text(f"UPDATE provider_calls SET {lost}"))  # noqa: S608 - a constant
        await session.execute(text("ALTER TABLE provider_calls ENABLE TRIGGER call_moves"))
        await session.execute(text("DELETE FROM cost_events"))
    late = LateAnswers(studio.db, studio.stores, set())
    assert await late.write_down() == 0
    assert (await reap_calls(studio.db)).unknown == 1
    reconciler = Reconciler(
        studio.db,
        studio.providers,
        find_answer=answer_finder(studio.db, studio.stores),
        find_access=no_access,
    )
    assert await reconciler.reconcile() == 1

    late.search_soon()
    assert await late.write_down() == 1

    rows = await studio.rows(run)
    assert [candidate.status for candidate in rows.candidates["style_1_harbor"]] == ["generated"]
    assert [cost.total_cost_usd for cost in rows.costs] == [PRICE]
    assert len(studio.provider.calls) == 1
