"""Contract 3.17."""

from typing import Any

import pytest
from httpx import AsyncClient
from sqlalchemy import func, select, update

from kroma.audit.models import AuditEvent
from kroma.chat.models import ChatSession
from kroma.db.engine import Database

P = "/api/projects"
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest.fixture
def sessions(slug: str) -> str:
    return f"{P}/{slug}/chat/sessions"


async def opened(client: AsyncClient, sessions: str, **body: object) -> dict[str, str]:
    response = await client.post(sessions, json=body)
    assert response.status_code == 200, response.text
    return response.json()["session"]


async def test_a_new_project_has_no_sessions(client: AsyncClient, sessions: str) -> None:
    response = await client.get(sessions)

    assert (response.status_code, response.json()) == (
        200,
        {"ok": True, "count": 0, "next": None, "sessions": []},
    )


async def test_a_session_keeps_its_trimmed_title(client: AsyncClient, sessions: str) -> None:
    session = await opened(client, sessions, title="  Colors of chapter 2 ")

    assert set(session) == {"id", "project_id", "title", "status", "created_at", "updated_at"}
    assert (session["title"], session["status"]) == ("Colors of chapter 2", "active")
    assert (await client.get(f"{sessions}/{session['id']}")).json() == {"ok": True, "session": session}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"json": {}}, id="absent"),
        pytest.param({"json": {"title": None}}, id="null"),
        pytest.param({"json": {"title": " "}}, id="blank"),
        pytest.param({}, id="no body at all"),
        pytest.param({"json": {"username": "ann", "context_json": {}}}, id="fields of the old schema"),
    ],
)
async def test_a_session_without_a_title_is_a_new_session(
    client: AsyncClient, sessions: str, body: dict[str, Any]
) -> None:
    response = await client.post(sessions, **body)

    assert response.status_code == 200
    assert response.json()["session"]["title"] == "New Session"
    assert "audit_id" not in response.json()


async def test_sessions_are_listed_last_changed_first(
    client: AsyncClient, sessions: str, db: Database
) -> None:
    first, second = await opened(client, sessions, title="A"), await opened(client, sessions, title="B")
    before = (await client.get(sessions)).json()
    async with db.transaction() as session:
        await session.execute(
            update(ChatSession)
            .where(ChatSession.title == "A")
            .values(updated_at=func.now() + func.make_interval(0, 0, 0, 1))
        )
    after = (await client.get(sessions)).json()

    assert before["count"] == 2
    assert [row["id"] for row in before["sessions"]] == [second["id"], first["id"]]
    assert [row["id"] for row in after["sessions"]] == [first["id"], second["id"]]


async def test_a_transcript_keeps_the_order_of_insertion(client: AsyncClient, sessions: str) -> None:
    session = await opened(client, sessions)
    said = [f"line {number}" for number in range(12)]
    for text in said:
        response = await client.post(
            f"{sessions}/{session['id']}/messages", json={"role": "user", "content": text}
        )
        assert response.status_code == 200
    body = (await client.get(f"{sessions}/{session['id']}/messages")).json()

    assert (body["count"], body["session_id"]) == (12, session["id"])
    assert [message["content"] for message in body["messages"]] == said


async def test_a_message_is_stored_and_the_session_stays_as_it_was(
    client: AsyncClient, sessions: str, db: Database
) -> None:
    session = await opened(client, sessions)
    response = await client.post(
        f"{sessions}/{session['id']}/messages", json={"role": " ASSISTANT ", "content": "  Hello  "}
    )
    message = response.json()["message"]

    assert set(message) == {"id", "project_id", "session_id", "role", "content", "created_at"}
    assert (message["role"], message["content"]) == ("assistant", "Hello")
    assert (message["session_id"], message["project_id"]) == (session["id"], session["project_id"])
    assert (await client.get(f"{sessions}/{session['id']}")).json()["session"] == session
    async with db.transaction() as rows:
        codes = (await rows.scalars(select(AuditEvent.event_code))).all()
    assert codes == ["project.upsert"]


@pytest.mark.parametrize("role", ["user", "assistant", "system", "tool", "Tool"])
async def test_these_roles_may_speak(client: AsyncClient, sessions: str, role: str) -> None:
    session = await opened(client, sessions)
    response = await client.post(f"{sessions}/{session['id']}/messages", json={"role": role, "content": "x"})

    assert response.json()["message"]["role"] == role.lower()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        pytest.param({}, "Field 'role' is required", id="nothing"),
        pytest.param({"role": " ", "content": "x"}, "Field 'role' is required", id="blank role"),
        pytest.param(
            {"role": "robot"},
            "Field 'role' must be one of: user, assistant, system, tool",
            id="unknown role before missing content",
        ),
        pytest.param({"role": "user"}, "Field 'content' is required", id="no content"),
        pytest.param({"role": "user", "content": "\n"}, "Field 'content' is required", id="blank content"),
        pytest.param(
            {"role": "user", "content_text": "x"},
            "Field 'content' is required",
            id="the old schema's content",
        ),
    ],
)
@pytest.mark.parametrize("known", [pytest.param(True, id="session"), pytest.param(False, id="no session")])
async def test_a_messages_fields_are_checked_before_its_session(
    client: AsyncClient, sessions: str, body: dict[str, str], text: str, *, known: bool
) -> None:
    session_id = (await opened(client, sessions))["id"] if known else "missing"
    response = await client.post(f"{sessions}/{session_id}/messages", json=body)

    assert (response.status_code, response.json()["error"]) == (400, text)


@pytest.mark.parametrize("body", [{"role": None}, {"role": 1}, {"role": "user", "content": None}])
async def test_a_message_of_another_shape_is_unprocessable(
    client: AsyncClient, sessions: str, body: dict[str, object]
) -> None:
    response = await client.post(f"{sessions}/missing/messages", json=body)

    assert (response.status_code, response.json()["error_code"]) == (422, "validation_error")


@pytest.mark.parametrize("location", ["comic/chat/sessions/missing", "missing/chat/sessions/missing"])
async def test_an_unknown_session_is_not_found_even_without_its_project(
    client: AsyncClient, slug: str, location: str
) -> None:
    responses = [
        await client.get(f"{P}/{location}"),
        await client.get(f"{P}/{location}/messages"),
        await client.post(f"{P}/{location}/messages", json={"role": "user", "content": "x"}),
    ]

    assert slug == "comic"
    assert {response.status_code for response in responses} == {404}
    assert {response.json()["error"] for response in responses} == {"Chat session not found"}


async def test_sessions_of_an_unknown_project_are_not_found(client: AsyncClient) -> None:
    responses = [
        await client.get(f"{P}/missing/chat/sessions"),
        await client.post(f"{P}/missing/chat/sessions", json={}),
    ]

    assert {response.status_code for response in responses} == {404}
    assert {response.json()["error"] for response in responses} == {"Project not found"}


async def test_a_session_belongs_to_its_project(client: AsyncClient, sessions: str) -> None:
    session = await opened(client, sessions)
    await client.post(P, json={"name": "Other"})
    other = f"{P}/other/chat/sessions"

    assert (await client.get(other)).json()["count"] == 0
    assert (await client.get(f"{other}/{session['id']}")).status_code == 404
    assert (await client.get(f"{other}/{session['id']}/messages")).status_code == 404


async def test_an_id_is_an_opaque_text(client: AsyncClient, sessions: str) -> None:
    session = await opened(client, sessions)

    assert (await client.get(f"{sessions}/{session['id'].upper()}")).status_code == 404
