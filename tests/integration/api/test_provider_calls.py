"""Paid calls, and a person's word about those whose answer was lost."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from httpx import AsyncClient
from sqlalchemy import select

from kroma.audit.models import AuditEvent
from kroma.costs.models import CostEvent
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.ledger.models import ProviderCall
from kroma.projects.queries import get_project
from kroma.runs.models import Run

PRICE = Decimal("0.040000")


async def add_call(db: Database, slug: str, **changes: Any) -> UUID:
    values: dict[str, Any] = {
        "job_key": "style_1_harbor",
        "candidate_index": 1,
        "number": 1,
        "fence": 1,
        "provider_code": "openai",
        "model_name": "gpt-image-1",
        "operation": "image_edit",
        "status": "unknown",
        "price_usd": PRICE,
        "error": "No answer: ReadError",
        "error_code": "provider_answer_lost",
        **changes,
    }
    async with db.transaction() as session:
        project = await get_project(session, slug)
        call = ProviderCall(project_id=project.id, **values)
        session.add(call)
        await session.flush()
        return call.id


async def costs(db: Database) -> list[Decimal]:
    async with db.transaction() as session:
        return list(await session.scalars(select(CostEvent.total_cost_usd)))


def resolve(slug: str, call_id: UUID | str) -> str:
    return f"/api/projects/{slug}/provider-calls/{call_id}/resolve"


async def test_calls_are_listed_newest_first_page_by_page(
    client: AsyncClient, db: Database, slug: str
) -> None:
    now = utc_now()
    ids = [str(await add_call(db, slug, created_at=now + timedelta(seconds=n))) for n in range(3)]

    first = (await client.get(f"/api/projects/{slug}/provider-calls", params={"limit": 2})).json()
    params = {"limit": 2, "after": first["next"]}
    second = (await client.get(f"/api/projects/{slug}/provider-calls", params=params)).json()

    assert [call["id"] for call in first["provider_calls"] + second["provider_calls"]] == ids[::-1]
    assert second["next"] is None
    shown = first["provider_calls"][0]
    assert (shown["status"], shown["price_usd"], shown["cost_usd"]) == ("unknown", 0.04, None)


async def test_calls_are_filtered_by_status_and_run(client: AsyncClient, db: Database, slug: str) -> None:
    unknown = await add_call(db, slug)
    await add_call(db, slug, status="settled", cost_usd=PRICE)
    path = f"/api/projects/{slug}/provider-calls"

    listed = (await client.get(path, params={"status": "unknown"})).json()
    of_no_run = (await client.get(path, params={"run": str(uuid4())})).json()

    assert [call["id"] for call in listed["provider_calls"]] == [str(unknown)]
    assert of_no_run["count"] == 0


async def test_an_unknown_status_is_refused(client: AsyncClient, slug: str) -> None:
    response = await client.get(f"/api/projects/{slug}/provider-calls", params={"status": "lost"})

    assert response.status_code == 400
    assert response.json()["error"].startswith("Field 'status' must be one of: intent, sent")


async def test_the_calls_of_an_unknown_project_are_not_found(client: AsyncClient) -> None:
    response = await client.get("/api/projects/missing/provider-calls")

    assert (response.status_code, response.json()["error"]) == (404, "Project not found")


@pytest.mark.parametrize(
    ("body", "cost"),
    [
        pytest.param({"resolution": "charged"}, 0.04, id="at its price"),
        pytest.param({"resolution": "charged", "cost_usd": "0.17"}, 0.17, id="at a cost in text"),
        pytest.param({"resolution": "charged", "cost_usd": 0}, 0.0, id="for nothing"),
    ],
)
async def test_a_charged_call_is_settled_with_one_cost_event(
    client: AsyncClient, db: Database, slug: str, body: dict[str, Any], cost: float
) -> None:
    call_id = await add_call(db, slug)

    reply = (await client.post(resolve(slug, call_id), json=body)).json()

    call = reply["provider_call"]
    assert (call["status"], call["resolution"], call["cost_usd"]) == ("settled", "charged", cost)
    assert call["resolved_at"]
    assert await costs(db) == [Decimal(str(cost))]
    async with db.transaction() as session:
        event = (
            await session.scalars(select(AuditEvent).where(AuditEvent.id == UUID(reply["audit_id"])))
        ).one()
    assert event.event_code == "provider_call.resolve"
    assert event.payload_json["id"] == str(call_id)


async def test_a_call_that_was_not_charged_costs_nothing(
    client: AsyncClient, db: Database, slug: str
) -> None:
    call_id = await add_call(db, slug)

    reply = (await client.post(resolve(slug, call_id), json={"resolution": "not_charged"})).json()

    call = reply["provider_call"]
    assert (call["status"], call["resolution"], call["cost_usd"]) == ("refused", "not_charged", None)
    assert await costs(db) == []


@pytest.mark.parametrize("resolution", ["charged", "not_charged"])
async def test_the_watchers_of_its_run_are_told_once(
    client: AsyncClient, db: Database, slug: str, resolution: str
) -> None:
    async with db.transaction() as session:
        run = Run(project_id=(await get_project(session, slug)).id, run_mode="run", status="ok")
        session.add(run)
        await session.flush()
    call_id = await add_call(db, slug, run_id=run.id)
    path = f"/api/projects/{slug}/runs/{run.id}"
    before = (await client.get(path)).headers["ETag"]

    for _ in range(2):
        await client.post(resolve(slug, call_id), json={"resolution": resolution})

    events = (await client.get(f"{path}/events", headers={"Accept": "application/json"})).json()["events"]
    assert [(event["kind"], event["data"]) for event in events] == [
        (
            "notice",
            {
                "code": "provider_call_resolved",
                "message": f"A paid call with a lost response was resolved: {resolution}",
                "call_id": str(call_id),
                "resolution": resolution,
            },
        )
    ]
    assert (await client.get(path)).headers["ETag"] != before


@pytest.mark.parametrize("resolution", ["charged", "not_charged"])
async def test_saying_the_same_again_changes_nothing(
    client: AsyncClient, db: Database, slug: str, resolution: str
) -> None:
    call_id = await add_call(db, slug)
    first = (await client.post(resolve(slug, call_id), json={"resolution": resolution})).json()

    again = await client.post(resolve(slug, call_id), json={"resolution": resolution})

    assert again.status_code == 200
    assert again.json()["provider_call"] == first["provider_call"]
    assert again.json()["audit_id"] == ""
    assert len(await costs(db)) == (resolution == "charged")


async def test_the_opposite_of_what_was_said_is_refused(client: AsyncClient, db: Database, slug: str) -> None:
    call_id = await add_call(db, slug)
    await client.post(resolve(slug, call_id), json={"resolution": "not_charged"})

    response = await client.post(resolve(slug, call_id), json={"resolution": "charged"})

    assert response.status_code == 400
    assert response.json()["error_code"] == "provider_call_not_unknown"
    assert response.json()["error"] == (
        "Only a call with status 'unknown' can be resolved; this one is 'refused', resolved as not_charged"
    )


@pytest.mark.parametrize("status", ["intent", "sent", "settled", "refused"])
async def test_only_an_unknown_call_can_be_resolved(
    client: AsyncClient, db: Database, slug: str, status: str
) -> None:
    call_id = await add_call(db, slug, status=status)

    response = await client.post(resolve(slug, call_id), json={"resolution": "charged"})

    assert response.status_code == 400
    assert f"this one is '{status}'" in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        pytest.param({}, "Field 'resolution' is required", id="no resolution"),
        pytest.param(
            {"resolution": "maybe"},
            "Field 'resolution' must be one of: charged, not_charged",
            id="other word",
        ),
        pytest.param(
            {"resolution": "charged", "cost_usd": "much"},
            "Field 'cost_usd' must be an amount of at least 0, like 0.04",
            id="cost in words",
        ),
        pytest.param(
            {"resolution": "charged", "cost_usd": -1},
            "Field 'cost_usd' must be an amount of at least 0, like 0.04",
            id="cost below nothing",
        ),
        pytest.param(
            {"resolution": "not_charged", "cost_usd": 1},
            "Field 'cost_usd' is only allowed with resolution 'charged'",
            id="cost of nothing",
        ),
    ],
)
async def test_a_wrong_resolution_is_refused(
    client: AsyncClient, db: Database, slug: str, body: dict[str, Any], text: str
) -> None:
    call_id = await add_call(db, slug)

    response = await client.post(resolve(slug, call_id), json=body)

    assert (response.status_code, response.json()["error"]) == (400, text)


async def test_a_call_of_another_project_is_not_found(client: AsyncClient, db: Database, slug: str) -> None:
    call_id = await add_call(db, slug)
    other = (await client.post("/api/projects", json={"name": "Other"})).json()["project"]["slug"]

    for path in (resolve(other, call_id), resolve("missing", call_id), resolve(slug, "x")):
        response = await client.post(path, json={"resolution": "charged"})
        assert (response.status_code, response.json()["error"]) == (404, "Provider call not found")
