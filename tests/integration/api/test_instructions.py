"""Contract 3.18, the part that people use."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from httpx import AsyncClient
from sqlalchemy import select, update

from kroma.audit.models import AuditEvent
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.instructions.models import AgentInstruction
from kroma.queue.messages import DispatchInstruction
from support.doubles.memory_queue import MemoryTaskQueue
from support.harness.documented_api import ClientFactory

P = "/api/projects"
FIELDS = {
    "id",
    "project_id",
    "instruction_text",
    "status",
    "created_at",
    "updated_at",
    "confirmed_at",
    "canceled_at",
}
ADDED = {"attempts", "max_attempts", "last_error", "next_attempt_at"}


@pytest.fixture
def instructions(slug: str) -> str:
    return f"{P}/{slug}/agent/instructions"


async def created(client: AsyncClient, instructions: str, text: str = "Darken scene 3") -> dict[str, Any]:
    response = await client.post(instructions, json={"instruction_text": text})
    assert response.status_code == 200, response.text
    return response.json()["instruction"]


async def put_into(db: Database, instruction_id: str, **values: object) -> None:
    async with db.transaction() as session:
        await session.execute(
            update(AgentInstruction).where(AgentInstruction.id == UUID(instruction_id)).values(**values)
        )


async def stored(db: Database, instruction_id: str) -> AgentInstruction:
    async with db.transaction() as session:
        return await session.get_one(AgentInstruction, UUID(instruction_id), populate_existing=True)


async def trail(db: Database) -> list[tuple[str, dict[str, Any]]]:
    async with db.transaction() as session:
        rows = await session.scalars(
            select(AuditEvent)
            .where(AuditEvent.event_code.startswith("agent_instruction."))
            .order_by(AuditEvent.created_at)
        )
        return [(row.event_code, row.payload_json) for row in rows]


async def events(client: AsyncClient, instructions: str, instruction_id: str) -> list[tuple[str, str]]:
    response = await client.get(f"{instructions}/{instruction_id}/events")
    body = response.json()
    assert (response.status_code, body["instruction_id"]) == (200, instruction_id)
    assert body["count"] == len(body["events"])
    return [(event["event_type"], event["message"]) for event in body["events"]]


async def test_a_new_project_has_no_instructions(client: AsyncClient, instructions: str) -> None:
    response = await client.get(instructions)

    assert (response.status_code, response.json()) == (
        200,
        {"ok": True, "count": 0, "next": None, "instructions": []},
    )


async def test_a_new_instruction_is_pending_with_an_event_and_an_audit(
    client: AsyncClient, instructions: str, db: Database, queue: MemoryTaskQueue
) -> None:
    response = await client.post(instructions, json={"instruction_text": "  Darken scene 3  "})
    body = response.json()
    instruction = body["instruction"]

    assert response.status_code == 200
    assert set(instruction) == FIELDS | ADDED
    assert (instruction["instruction_text"], instruction["status"]) == ("Darken scene 3", "pending")
    assert (instruction["confirmed_at"], instruction["canceled_at"]) == ("", "")
    assert (instruction["attempts"], instruction["max_attempts"]) == (0, 3)
    assert (instruction["last_error"], instruction["next_attempt_at"]) == ("", "")
    assert await events(client, instructions, instruction["id"]) == [("created", "Instruction created")]
    assert await trail(db) == [
        ("agent_instruction.create", {"instruction_id": instruction["id"], "status": "pending"})
    ]
    assert body["audit_id"]
    assert queue.messages == []
    shown = await client.get(f"{instructions}/{instruction['id']}")
    assert shown.json() == {"ok": True, "instruction": instruction}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="absent"),
        pytest.param({"instruction_text": " \n"}, id="blank"),
        pytest.param(
            {"instruction_type": "custom", "payload_json": {}, "requires_confirmation": True},
            id="fields of the old schema",
        ),
    ],
)
@pytest.mark.parametrize("project", ["comic", "missing"])
async def test_a_text_is_required_before_the_project_is_looked_up(
    client: AsyncClient, slug: str, body: dict[str, object], project: str
) -> None:
    response = await client.post(f"{P}/{project}/agent/instructions", json=body)

    assert slug == "comic"
    assert (response.status_code, response.json()["error"]) == (400, "Field 'instruction_text' is required")


async def test_a_null_text_is_unprocessable(client: AsyncClient, instructions: str) -> None:
    response = await client.post(instructions, json={"instruction_text": None})

    assert response.status_code == 422


async def test_create_then_confirm_leaves_exactly_two_events(
    client: AsyncClient, instructions: str, db: Database, queue: MemoryTaskQueue
) -> None:
    instruction = await created(client, instructions)
    response = await client.post(f"{instructions}/{instruction['id']}/confirm", json={})
    body = response.json()

    assert response.status_code == 200
    assert body["instruction"]["status"] == "confirmed"
    assert body["instruction"]["confirmed_at"].endswith("Z")
    assert await events(client, instructions, instruction["id"]) == [
        ("created", "Instruction created"),
        ("confirmed", "Instruction confirmed"),
    ]
    assert (await trail(db))[1:] == [
        ("agent_instruction.confirm", {"instruction_id": instruction["id"], "status": "confirmed"})
    ]
    assert body["audit_id"]
    assert queue.messages == [DispatchInstruction(instruction_id=UUID(instruction["id"]))]


@pytest.mark.parametrize(
    ("move", "done", "phrase"),
    [
        pytest.param("confirm", "confirmed", "Instruction confirmed", id="confirm"),
        pytest.param("cancel", "canceled", "Instruction canceled", id="cancel"),
    ],
)
@pytest.mark.parametrize(
    ("request_body", "text"),
    [
        pytest.param({"json": {"message": "  by Ann "}}, "by Ann", id="a message"),
        pytest.param({"json": {"message": " "}}, None, id="a blank one"),
        pytest.param({"json": {"message": None}}, None, id="null"),
        pytest.param({"json": {}}, None, id="none"),
        pytest.param({}, None, id="no body at all"),
    ],
)
async def test_the_events_text_is_the_message_or_a_fixed_phrase(
    *,
    client: AsyncClient,
    instructions: str,
    move: str,
    done: str,
    phrase: str,
    request_body: dict[str, Any],
    text: str | None,
) -> None:
    instruction = await created(client, instructions)
    response = await client.post(f"{instructions}/{instruction['id']}/{move}", **request_body)

    assert response.status_code == 200
    assert (await events(client, instructions, instruction["id"]))[1:] == [(done, text or phrase)]


async def test_a_second_confirm_changes_nothing_and_is_audited(
    client: AsyncClient, instructions: str, db: Database, queue: MemoryTaskQueue
) -> None:
    instruction = await created(client, instructions)
    path = f"{instructions}/{instruction['id']}"
    first = (await client.post(f"{path}/confirm", json={})).json()
    before = await stored(db, instruction["id"])
    response = await client.post(f"{path}/confirm", json={"message": "again"})
    after = await stored(db, instruction["id"])

    assert response.status_code == 200
    assert response.json()["instruction"] == first["instruction"]
    assert response.json()["audit_id"] != first["audit_id"]
    assert (after.updated_at, after.fence) == (before.updated_at, before.fence)
    assert len(await events(client, instructions, instruction["id"])) == 2
    assert [code for code, _ in await trail(db)][1:] == ["agent_instruction.confirm"] * 2
    assert len(queue.messages) == 1


async def test_a_second_cancel_changes_nothing_and_is_audited(
    client: AsyncClient, instructions: str, db: Database
) -> None:
    instruction = await created(client, instructions)
    path = f"{instructions}/{instruction['id']}"
    first = (await client.post(f"{path}/cancel", json={})).json()
    response = await client.post(f"{path}/cancel", json={"message": "again"})

    assert response.status_code == 200
    assert response.json()["instruction"] == first["instruction"]
    assert first["instruction"]["status"] == "canceled"
    assert first["instruction"]["canceled_at"].endswith("Z")
    assert len(await events(client, instructions, instruction["id"])) == 2
    assert (await trail(db))[1:] == [
        ("agent_instruction.cancel", {"instruction_id": instruction["id"], "status": "canceled"})
    ] * 2


async def test_a_canceled_instruction_cannot_be_confirmed(
    client: AsyncClient, instructions: str, db: Database
) -> None:
    instruction = await created(client, instructions)
    path = f"{instructions}/{instruction['id']}"
    await client.post(f"{path}/cancel", json={})
    response = await client.post(f"{path}/confirm", json={})

    assert response.status_code == 400
    assert response.json()["error"] == "Instruction is already canceled"
    assert response.json()["error_code"] == "validation_error"
    assert [code for code, _ in await trail(db)] == ["agent_instruction.create", "agent_instruction.cancel"]


async def test_a_confirmed_instruction_cannot_be_canceled(client: AsyncClient, instructions: str) -> None:
    instruction = await created(client, instructions)
    path = f"{instructions}/{instruction['id']}"
    await client.post(f"{path}/confirm", json={})
    response = await client.post(f"{path}/cancel", json={})

    assert response.status_code == 400
    assert response.json()["error"] == "Instruction is already confirmed"
    assert response.json()["error_code"] == "validation_error"


@pytest.mark.parametrize("status", ["running", "done", "failed"])
async def test_what_has_run_can_be_confirmed_again_with_no_attempt_counted(
    client: AsyncClient, instructions: str, db: Database, queue: MemoryTaskQueue, status: str
) -> None:
    instruction = await created(client, instructions)
    await put_into(
        db,
        instruction["id"],
        status=status,
        attempt=3,
        last_error="http_500:",
        available_at=utc_now(),
        lease_owner="w",
        lease_expires_at=utc_now(),
        deadline_at=utc_now(),
        fence=7,
    )
    body = (await client.post(f"{instructions}/{instruction['id']}/confirm", json={})).json()
    row = await stored(db, instruction["id"])

    assert body["instruction"]["status"] == "confirmed"
    assert (body["instruction"]["attempts"], body["instruction"]["last_error"]) == (0, "")
    assert body["instruction"]["next_attempt_at"] == ""
    assert (row.lease_owner, row.lease_expires_at, row.deadline_at) == (None,) * 3
    assert row.fence == 8
    assert len(queue.messages) == 1


@pytest.mark.parametrize("status", ["running", "done", "failed"])
async def test_what_has_run_can_be_canceled(
    client: AsyncClient, instructions: str, db: Database, status: str
) -> None:
    instruction = await created(client, instructions)
    await put_into(db, instruction["id"], status=status, fence=7, lease_expires_at=utc_now())
    response = await client.post(f"{instructions}/{instruction['id']}/cancel", json={})
    row = await stored(db, instruction["id"])

    assert response.status_code == 200
    assert response.json()["instruction"]["status"] == "canceled"
    assert (row.fence, row.lease_expires_at) == (8, None)


async def test_attempts_and_errors_can_be_read(client: AsyncClient, instructions: str, db: Database) -> None:
    instruction = await created(client, instructions)
    await put_into(
        db,
        instruction["id"],
        status="confirmed",
        attempt=2,
        max_attempts=5,
        last_error="http_503:busy",
        available_at=utc_now(),
    )
    shown = (await client.get(f"{instructions}/{instruction['id']}")).json()["instruction"]

    assert (shown["attempts"], shown["max_attempts"], shown["last_error"]) == (2, 5, "http_503:busy")
    assert shown["next_attempt_at"].endswith("Z")


async def test_instructions_are_listed_last_changed_first(client: AsyncClient, instructions: str) -> None:
    first = await created(client, instructions, "first")
    await created(client, instructions, "second")
    before = (await client.get(instructions)).json()
    await client.post(f"{instructions}/{first['id']}/confirm", json={})
    after = (await client.get(instructions)).json()

    assert before["count"] == 2
    assert [row["instruction_text"] for row in before["instructions"]] == ["second", "first"]
    assert [row["instruction_text"] for row in after["instructions"]] == ["first", "second"]


@pytest.mark.parametrize("project", ["comic", "missing"])
async def test_an_unknown_instruction_is_not_found_even_without_its_project(
    client: AsyncClient, slug: str, project: str
) -> None:
    location = f"{P}/{project}/agent/instructions/missing"
    responses = [
        await client.get(location),
        await client.get(f"{location}/events"),
        await client.post(f"{location}/confirm", json={}),
        await client.post(f"{location}/cancel", json={}),
    ]

    assert slug == "comic"
    assert {response.status_code for response in responses} == {404}
    assert {response.json()["error"] for response in responses} == {"Agent instruction not found"}


async def test_instructions_of_an_unknown_project_are_not_found(client: AsyncClient) -> None:
    location = f"{P}/missing/agent/instructions"
    responses = [await client.get(location), await client.post(location, json={"instruction_text": "x"})]

    assert {response.status_code for response in responses} == {404}
    assert {response.json()["error"] for response in responses} == {"Project not found"}


async def test_an_instruction_belongs_to_its_project(client: AsyncClient, instructions: str) -> None:
    instruction = await created(client, instructions)
    await client.post(P, json={"name": "Other"})
    other = f"{P}/other/agent/instructions"

    assert (await client.get(other)).json()["count"] == 0
    assert (await client.get(f"{other}/{instruction['id']}")).status_code == 404
    assert (await client.post(f"{other}/{instruction['id']}/cancel", json={})).status_code == 404


@pytest.mark.timeout(60)
async def test_a_confirm_and_a_cancel_at_once_leave_one_of_the_two(
    client_with: ClientFactory, fresh_db: Database
) -> None:
    client = client_with(fresh_db, KROMA_API_AUTH_DEV_BYPASS="1")
    await client.post(P, json={"name": "Comic"})
    location = f"{P}/comic/agent/instructions"
    instruction = await created(client, location)
    moves = ["confirm", "cancel"] * 10
    responses = await asyncio.gather(
        *(client.post(f"{location}/{instruction['id']}/{move}", json={}) for move in moves)
    )

    won = (await client.get(f"{location}/{instruction['id']}")).json()["instruction"]["status"]
    winner = {"confirmed": "confirm", "canceled": "cancel"}[won]
    assert [response.status_code for response in responses] == [
        200 if move == winner else 400 for move in moves
    ]
    assert len(await events(client, location, instruction["id"])) == 2
