"""Budgets and quotes over HTTP."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient
from sqlalchemy import func, select

from kroma.audit.models import AuditEvent
from kroma.config import Settings
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.instructions.signature import signing_key
from kroma.ledger.models import ProviderCall
from kroma.pipeline.planning import quote
from kroma.projects.queries import get_project
from kroma.providers.base import EditRequest
from kroma.providers.fake import FakeProvider, FakeScript
from kroma.runs.models import Run
from support.builders.factories import scene_png
from support.harness.documented_api import ClientFactory

pytestmark = pytest.mark.timeout(60)

BYPASS = {"KROMA_API_AUTH_DEV_BYPASS": "1"}
PRICE = Decimal("0.04")
BODY = {"mode": "run", "scene_refs": ["scenes/a.png", "scenes/b.png"], "candidates": 3}


class Unpriced(FakeProvider):
    """A provider that asks for money and does not say how much."""

    def estimate(self, request: EditRequest) -> None:
        del request


@pytest.fixture
def paid(client_with: ClientFactory) -> AsyncClient:
    """Of an application whose provider asks for money."""
    fake = FakeProvider(FakeScript(cost_usd=PRICE))
    return client_with(providers={"fake": fake}, KROMA_PROVIDER="fake", **BYPASS)


@pytest.fixture
def unpriced(client_with: ClientFactory) -> AsyncClient:
    fake = Unpriced(FakeScript(cost_usd=PRICE))
    return client_with(providers={"fake": fake}, KROMA_PROVIDER="fake", **BYPASS)


async def quoted(client: AsyncClient, slug: str, **changes: Any) -> dict[str, Any]:
    response = await client.post(f"/api/projects/{slug}/runs/quote", json=BODY | changes)
    assert response.status_code == 200, response.text
    return response.json()


async def triggered(client: AsyncClient, slug: str, **changes: Any) -> tuple[int, str]:
    body = BODY | {"confirm_spend": True} | changes
    response = await client.post(f"/api/projects/{slug}/runs/trigger", json=body)
    return response.status_code, response.json().get("error_code", "")


async def count_runs(db: Database) -> int:
    async with db.transaction() as session:
        return (await session.execute(select(func.count()).select_from(Run))).scalar_one()


async def add_call(db: Database, slug: str, **values: Any) -> None:
    async with db.transaction() as session:
        project = await get_project(session, slug)
        session.add(
            ProviderCall(
                project_id=project.id,
                job_key="style_1_a",
                candidate_index=1,
                number=1,
                fence=1,
                provider_code="openai",
                model_name="m",
                operation="image_edit",
                **values,
            )
        )


@pytest.mark.usefixtures("root")
async def test_a_quote_tells_plan_calls_and_price_and_stores_nothing(
    paid: AsyncClient, slug: str, db: Database
) -> None:
    reply = await quoted(paid, slug)

    told = reply["quote"]
    assert [job["job_key"] for job in told["plan"]["jobs"]] == ["style_1_a", "style_2_b"]
    assert {job["candidates"] for job in told["plan"]["jobs"]} == {3}
    assert told["plan"]["jobs"][0]["scene"] == "scenes/a.png"
    assert "Redraw" in told["plan"]["jobs"][0]["prompt"]
    assert (told["calls"], told["provider"], told["currency"], told["price_known"]) == (
        6,
        "fake",
        "USD",
        True,
    )
    assert (told["price_per_call_usd"], told["price_per_job_usd"], told["total_usd"]) == (0.04, 0.12, 0.24)
    assert await count_runs(db) == 0


@pytest.mark.usefixtures("root")
async def test_a_dry_run_and_a_free_provider_cost_nothing(
    paid: AsyncClient, client: AsyncClient, slug: str
) -> None:
    dry = (await quoted(paid, slug, mode="dry"))["quote"]
    assert (dry["calls"], dry["total_usd"], dry["price_known"], dry["warnings"]) == (0, 0.0, True, [])
    free = (await quoted(client, slug))["quote"]
    assert (free["calls"], free["total_usd"], free["price_known"]) == (6, 0.0, True)


@pytest.mark.usefixtures("root")
async def test_an_unknown_price_is_said_to_be_unknown(unpriced: AsyncClient, slug: str) -> None:
    told = (await quoted(unpriced, slug))["quote"]

    prices = {told[name] for name in ("price_per_call_usd", "price_per_job_usd", "total_usd")}
    assert (prices, told["price_known"]) == ({None}, False)
    assert "is not known" in told["warnings"][0]


async def test_a_quote_keeps_the_order_of_the_triggers_rules(client: AsyncClient) -> None:
    at = "/api/projects/missing/runs/quote"
    assert (await client.post(at, json={"mode": "maybe"})).json()["error_code"] == "invalid_mode"
    assert (await client.post(at, json={"mode": "run"})).json()["error_code"] == "invalid_request"
    assert (await client.post(at, json=BODY)).status_code == 404


async def test_a_quote_of_missing_scenes_is_refused(client: AsyncClient, slug: str) -> None:
    response = await client.post(f"/api/projects/{slug}/runs/quote", json=BODY)

    assert (response.status_code, response.json()["error_code"]) == (400, "planning_preflight_failed")


@pytest.mark.usefixtures("root")
async def test_a_trigger_keeps_to_its_quote(paid: AsyncClient, slug: str, db: Database) -> None:
    token = (await quoted(paid, slug))["quote_token"]

    assert await triggered(paid, slug, quote_token=token, confirm_spend=False) == (
        400,
        "spend_confirmation_required",
    )
    assert await triggered(paid, slug, quote_token=token) == (202, "")
    assert await count_runs(db) == 1


async def test_a_changed_plan_is_refused_with_a_conflict(
    paid: AsyncClient, client_with: ClientFactory, slug: str, root: Path, db: Database
) -> None:
    token = (await quoted(paid, slug))["quote_token"]

    assert await triggered(paid, slug, quote_token=token, candidates=2) == (409, "plan_changed")
    assert await triggered(paid, slug, quote_token=token, stage="time", time="night") == (409, "plan_changed")
    dearer = FakeProvider(FakeScript(cost_usd=2 * PRICE))
    other_price = client_with(providers={"fake": dearer}, KROMA_PROVIDER="fake", **BYPASS)
    assert await triggered(other_price, slug, quote_token=token) == (409, "plan_changed")
    (root / "scenes/a.png").write_bytes(scene_png(seed=77))
    assert await triggered(paid, slug, quote_token=token) == (409, "plan_changed")
    assert await count_runs(db) == 0


@pytest.mark.usefixtures("root")
async def test_a_token_that_is_not_ours_or_anothers_or_old_is_refused(
    paid: AsyncClient, slug: str, data_dir: Path, db: Database
) -> None:
    await paid.post("/api/projects", json={"name": "Other"})
    token = (await quoted(paid, slug))["quote_token"]
    until, _, rest = token.partition(".")
    async with db.transaction() as session:
        other = await get_project(session, "other")
        own = await get_project(session, slug)
    key = signing_key(Settings.from_environment({}, data_dir=data_dir))
    digest = rest.partition(".")[0]
    past = int((utc_now() - timedelta(seconds=1)).timestamp())
    for wrong in (
        "",
        "x",
        f"{until}9.{rest}",
        token[:-1],
        "٣" + token,
        f"{past}.{digest}.0",
        quote.token_of(key, other.id, digest, until=int(until)),
        quote.token_of(key, own.id, digest, until=past),
    ):
        assert await triggered(paid, slug, quote_token=wrong) == (400, "invalid_quote_token"), wrong


async def test_a_budget_is_set_read_and_removed(client: AsyncClient, slug: str, db: Database) -> None:
    at = f"/api/projects/{slug}/budget"
    assert (await client.get(at)).status_code == 404

    put = (await client.put(at, json={"limit_usd": 12.5, "period": " Month "})).json()
    assert put["budget"] == (await client.get(at)).json()["budget"]
    shown = {key: value for key, value in put["budget"].items() if not key.endswith("_at")}
    assert shown == {
        "limit_usd": 12.5,
        "period": "month",
        "spent_usd": 0.0,
        "held_usd": 0.0,
        "remaining_usd": 12.5,
        "warning_levels": [0.5, 0.8],
        "warnings": [],
        "unknown_price_calls": 0,
    }
    assert (await client.put(at, json={"limit_usd": 3, "period": "total"})).json()["budget"]["limit_usd"] == 3
    deleted = await client.delete(at)
    assert (deleted.status_code, deleted.json()["deleted"]) == (200, True)
    assert (await client.delete(at)).status_code == 404
    async with db.transaction() as session:
        codes = await session.scalars(select(AuditEvent.event_code).order_by(AuditEvent.created_at))
        assert [code for code in codes if code.startswith("budget")] == [
            "budget.upsert",
            "budget.upsert",
            "budget.delete",
        ]


async def test_the_project_of_a_budget_is_looked_for_first(client: AsyncClient) -> None:
    at = "/api/projects/missing/budget"
    assert (await client.get(at)).status_code == 404
    assert (await client.put(at, json={})).status_code == 404
    assert (await client.delete(at)).status_code == 404


@pytest.mark.parametrize(
    ("body", "error"),
    [
        pytest.param({"period": "day"}, "Field 'limit_usd' is required", id="no limit"),
        pytest.param({"limit_usd": 1}, "Field 'period' is required", id="no period"),
        pytest.param(
            {"limit_usd": 1, "period": "year"}, "must be one of: day, month, total", id="no such period"
        ),
        pytest.param({"limit_usd": -1, "period": "day"}, "between 0 and", id="negative"),
        pytest.param({"limit_usd": 1e12, "period": "day"}, "between 0 and", id="too large"),
        pytest.param({"limit_usd": 0.0000001, "period": "day"}, "at most 6 decimals", id="too fine"),
        pytest.param(
            {"limit_usd": 1, "period": "day", "warning_levels": [0]}, "warning_levels", id="level of 0"
        ),
        pytest.param(
            {"limit_usd": 1, "period": "day", "warning_levels": [2]}, "warning_levels", id="level over 1"
        ),
        pytest.param(
            {"limit_usd": 1, "period": "day", "warning_levels": [n / 20 for n in range(1, 13)]},
            "at most 10",
            id="too many levels",
        ),
    ],
)
async def test_a_wrong_budget_is_refused(
    client: AsyncClient, slug: str, body: dict[str, Any], error: str
) -> None:
    response = await client.put(f"/api/projects/{slug}/budget", json=body)

    assert response.status_code == 400
    assert error in response.json()["error"]


async def test_spending_counts_by_period_and_what_may_be_charged_is_held(
    client: AsyncClient, slug: str, db: Database
) -> None:
    now = utc_now()
    await add_call(db, slug, status="settled", cost_usd=Decimal(2), ended_at=now)
    await add_call(db, slug, status="settled", price_usd=Decimal(1), ended_at=now)
    await add_call(db, slug, status="settled", cost_usd=Decimal(100), ended_at=now - timedelta(days=40))
    await add_call(db, slug, status="settled", ended_at=now)
    await add_call(db, slug, status="unknown", price_usd=Decimal(3))
    await add_call(db, slug, status="sent", price_usd=Decimal("0.5"))
    await add_call(db, slug, status="refused", price_usd=Decimal(50))

    reply = await client.put(
        f"/api/projects/{slug}/budget",
        json={"limit_usd": 10, "period": "month", "warning_levels": [0.8, 0.6]},
    )

    told = reply.json()["budget"]
    assert (told["spent_usd"], told["held_usd"], told["remaining_usd"]) == (3.0, 3.5, 3.5)
    assert (told["warning_levels"], told["warnings"], told["unknown_price_calls"]) == ([0.6, 0.8], [0.6], 1)
    # The project tells what it cost in all, whether it has a budget or not.
    since_ever = {"spent_usd": 103.0, "held_usd": 3.5, "unknown_price_calls": 1}
    assert (await client.get(f"/api/projects/{slug}")).json()["spend"] == since_ever


@pytest.mark.usefixtures("root")
async def test_a_run_over_the_budget_is_refused_and_says_why(
    paid: AsyncClient, slug: str, db: Database
) -> None:
    await paid.put(f"/api/projects/{slug}/budget", json={"limit_usd": 0.3, "period": "day"})
    assert await triggered(paid, slug) == (202, "")

    warnings = (await quoted(paid, slug))["quote"]["warnings"]
    response = await paid.post(f"/api/projects/{slug}/runs/trigger", json=BODY | {"confirm_spend": True})

    assert "has 0.06 USD left" in warnings[-1]
    assert response.status_code == 400
    assert (response.json()["error_code"], response.json()["error_kind"]) == ("budget_exceeded", "policy")
    assert response.json()["error"] == (
        "The project's budget is 0.30 USD a day: 0.00 USD is spent, 0.24 USD is held for runs and calls"
        " in progress, and this needs 0.24 USD"
    )
    assert await count_runs(db) == 1
    assert (await paid.get(f"/api/projects/{slug}/budget")).json()["budget"]["warnings"] == [0.5, 0.8]


@pytest.mark.usefixtures("root")
async def test_under_a_budget_an_unknown_price_is_refused_and_a_free_run_is_not(
    unpriced: AsyncClient, client: AsyncClient, slug: str
) -> None:
    await client.put(f"/api/projects/{slug}/budget", json={"limit_usd": 0, "period": "total"})

    assert await triggered(unpriced, slug) == (400, "price_unknown")
    assert await triggered(unpriced, slug, mode="dry") == (202, "")
    assert await triggered(client, slug) == (202, "")


@pytest.mark.usefixtures("root")
async def test_without_a_budget_an_unknown_price_is_the_callers_risk(
    unpriced: AsyncClient, slug: str
) -> None:
    assert await triggered(unpriced, slug) == (202, "")
