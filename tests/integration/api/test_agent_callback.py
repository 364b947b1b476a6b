"""Where agents report."""

from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select

from kroma.config import Settings
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.instructions.models import AgentInstruction, AgentInstructionEvent
from kroma.instructions.signature import CallbackSigner, Pass, callback_signer
from support.builders.factories import make_project
from support.harness.documented_api import ClientFactory

HOUR = timedelta(hours=1)


@pytest.fixture
def signer(data_dir: Path) -> CallbackSigner:
    return callback_signer(Settings.from_environment({}, data_dir=data_dir))


@pytest.fixture
async def sent(db: Database) -> AgentInstruction:
    """An instruction that an agent has accepted."""
    async with db.transaction() as session:
        project = await make_project(session)
        row = AgentInstruction(
            project_id=project.id,
            instruction_text="Darken scene 3",
            status="running",
            attempt=1,
            fence=2,
            deadline_at=utc_now() + HOUR,
        )
        session.add(row)
    return row


@pytest.fixture
def agent(client_with: ClientFactory, sent: AgentInstruction) -> httpx.AsyncClient:
    """Calls an API that demands tokens, without one."""
    assert sent.id
    return client_with()


def address(signer: CallbackSigner, row: AgentInstruction, *, until: datetime | None = None) -> str:
    sending = Pass(instruction_id=row.id, attempt=row.attempt, fence=row.fence)
    signature = signer.signature(sending, valid_until=until or utc_now() + HOUR)
    return f"/agent/callback/{row.id}?sig={signature}"


async def stored(db: Database, instruction_id: UUID) -> tuple[AgentInstruction, list[tuple[str, str | None]]]:
    async with db.transaction() as session:
        row = await session.get_one(AgentInstruction, instruction_id, populate_existing=True)
        events = await session.scalars(
            select(AgentInstructionEvent)
            .where(AgentInstructionEvent.instruction_id == instruction_id)
            .order_by(AgentInstructionEvent.seq)
        )
        return row, [(event.event_type, event.message) for event in events]


@pytest.mark.parametrize(
    ("word", "status", "event_type", "error"),
    [
        pytest.param("accepted", "running", "status_change", None, id="accepted"),
        pytest.param("running", "running", "status_change", None, id="running"),
        pytest.param("done", "done", "result", None, id="done"),
        pytest.param("failed", "failed", "result", "out of ink", id="failed"),
        pytest.param("rejected", "failed", "result", "out of ink", id="rejected"),
        pytest.param(" DONE ", "done", "result", None, id="in another spelling"),
    ],
)
async def test_a_report_moves_the_instruction_and_leaves_an_event(
    *,
    agent: httpx.AsyncClient,
    signer: CallbackSigner,
    sent: AgentInstruction,
    db: Database,
    word: str,
    status: str,
    event_type: str,
    error: str | None,
) -> None:
    body = {"status": word, "message": "out of ink", "result": {"pages": 3}}
    response = await agent.post(address(signer, sent), json=body)
    row, events = await stored(db, sent.id)

    assert (response.status_code, response.json()) == (
        200,
        {"ok": True, "instruction_id": str(sent.id), "status": status, "applied": True},
    )
    assert (row.status, row.last_error) == (status, error)
    assert row.agent_response_json["result"] == {"pages": 3}
    text = f"remote_status={word.strip().lower()}, attempts=1, http_status=none, message=out of ink"
    assert events == [(event_type, text)]
    assert (row.deadline_at is None) == (status != "running")


async def test_a_report_heard_twice_counts_once(
    agent: httpx.AsyncClient, signer: CallbackSigner, sent: AgentInstruction, db: Database
) -> None:
    url = address(signer, sent)
    applied = [
        (await agent.post(url, json={"status": word})).json()["applied"]
        for word in ("accepted", "accepted", "running", "running", "done", "done", "failed")
    ]
    row, events = await stored(db, sent.id)

    assert applied == [True, False, True, False, True, False, False]
    assert row.status == "done"
    assert [event_type for event_type, _ in events] == ["status_change", "status_change", "result"]


async def test_a_report_of_an_earlier_sending_changes_nothing(
    agent: httpx.AsyncClient, signer: CallbackSigner, sent: AgentInstruction, db: Database
) -> None:
    url = address(signer, sent)
    async with db.transaction() as session:
        (await session.get_one(AgentInstruction, sent.id)).fence = 9
    response = await agent.post(url, json={"status": "done"})
    row, events = await stored(db, sent.id)

    assert (response.status_code, response.json()["applied"]) == (200, False)
    assert (row.status, events) == ("running", [])


@pytest.mark.parametrize("status", ["canceled", "done", "failed", "pending"])
async def test_a_report_of_what_has_ended_changes_nothing(
    agent: httpx.AsyncClient, signer: CallbackSigner, sent: AgentInstruction, db: Database, status: str
) -> None:
    async with db.transaction() as session:
        (await session.get_one(AgentInstruction, sent.id)).status = status
    response = await agent.post(address(signer, sent), json={"status": "running"})
    row, events = await stored(db, sent.id)

    assert (response.status_code, response.json()["status"], response.json()["applied"]) == (
        200,
        status,
        False,
    )
    assert (row.status, events) == (status, [])


async def test_an_agent_that_looked_lost_may_still_report(
    agent: httpx.AsyncClient, signer: CallbackSigner, sent: AgentInstruction, db: Database
) -> None:
    async with db.transaction() as session:
        waiting = await session.get_one(AgentInstruction, sent.id)
        waiting.status, waiting.available_at, waiting.last_error = (
            "confirmed",
            utc_now() + HOUR,
            "http_500:",
        )
    await agent.post(address(signer, sent), json={"status": "done"})
    row, _ = await stored(db, sent.id)

    assert (row.status, row.available_at, row.last_error) == ("done", None, None)


async def test_a_wrong_signature_is_forbidden(
    agent: httpx.AsyncClient, signer: CallbackSigner, sent: AgentInstruction, db: Database
) -> None:
    good = address(signer, sent)
    other = AgentInstruction(id=uuid4(), attempt=1, fence=2)
    stranger = CallbackSigner(b"another installation's key")
    bare, _, signature = good.partition("?sig=")
    wrong = [
        bare,
        f"{bare}?sig=",
        f"{bare}?sig=%F0%9F%8E%A8",
        f"{bare}?sig=..",
        f"{bare}?sig=1.2",
        f"{good[:-1]}{'0' if good[-1] != '0' else '1'}",
        f"{bare}?sig=9{signature}",
        f"{bare}?sig={address(signer, other).partition('?sig=')[2]}",
        address(stranger, sent),
        address(signer, sent, until=utc_now() - timedelta(seconds=2)),
    ]
    responses = [await agent.post(url, json={"status": "done"}) for url in wrong]

    assert {response.status_code for response in responses} == {403}
    assert {response.json()["error_code"] for response in responses} == {"forbidden"}
    assert (await stored(db, sent.id))[0].status == "running"


@pytest.mark.parametrize("instruction_id", ["missing", "3f2b8c1e-6d0a-4c55-9b3e-0e8f1f6f2a71", "x" * 300])
async def test_an_unknown_instruction_is_not_found(
    agent: httpx.AsyncClient, signer: CallbackSigner, sent: AgentInstruction, instruction_id: str
) -> None:
    url = address(signer, sent).replace(str(sent.id), instruction_id)
    response = await agent.post(url, json={"status": "done"})

    assert (response.status_code, response.json()["error"]) == (404, "Agent instruction not found")


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        pytest.param({}, 400, "Field 'status' is required", id="nothing"),
        pytest.param({"status": " "}, 400, "Field 'status' is required", id="blank"),
        pytest.param(
            {"status": "queued"},
            400,
            "Field 'status' must be one of: accepted, running, done, failed, rejected",
            id="another word",
        ),
        pytest.param(
            {"status": "done", "instruction_id": "x"},
            400,
            "Field 'instruction_id' must be the instruction that the path names",
            id="another instruction",
        ),
        pytest.param({"status": None}, 422, None, id="null"),
        pytest.param({"status": 1}, 422, None, id="a number"),
        pytest.param({"status": "done", "message": 1}, 422, None, id="a message that is no text"),
        pytest.param({"status": "done", "error": {}}, 422, None, id="an error that is no text"),
        pytest.param({"status": "done", "result": {"a": "\0"}}, 400, None, id="NUL"),
    ],
)
async def test_a_callbacks_body_is_checked(
    *,
    agent: httpx.AsyncClient,
    signer: CallbackSigner,
    sent: AgentInstruction,
    db: Database,
    body: dict[str, object],
    status: int,
    text: str | None,
) -> None:
    response = await agent.post(address(signer, sent), json=body)

    assert response.status_code == status
    assert text in {None, response.json()["error"]}
    assert (await stored(db, sent.id))[0].status == "running"


async def test_reading_a_callback_address_is_no_method_of_it(
    agent: httpx.AsyncClient, signer: CallbackSigner, sent: AgentInstruction
) -> None:
    assert (await agent.get(address(signer, sent))).status_code == 405


def test_the_callback_key_is_made_once_for_its_owner_only(data_dir: Path, signer: CallbackSigner) -> None:
    key_file = data_dir / "callback.key"
    sending = Pass(instruction_id=uuid4(), attempt=1, fence=1)
    again = callback_signer(Settings.from_environment({}, data_dir=data_dir))

    assert key_file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in data_dir.iterdir()] == ["callback.key"]
    until = utc_now() + HOUR
    assert again.signature(sending, valid_until=until) == signer.signature(sending, valid_until=until)


def test_a_configured_callback_key_leaves_no_file(data_dir: Path) -> None:
    variables = {"KROMA_CALLBACK_KEY": "k" * 32}
    callback_signer(Settings.from_environment(variables, data_dir=data_dir))

    assert list(data_dir.iterdir()) == []
