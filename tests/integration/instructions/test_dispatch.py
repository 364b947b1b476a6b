"""Contract 3.18, the part that the worker does, against an agent over real HTTP."""

import asyncio
import json
import re
from datetime import datetime, timedelta

import pytest

from kroma.db.base import utc_now
from support.doubles.agent_server import AgentServer, Received, http, said
from support.harness.agent_harness import AgentHarness

pytestmark = pytest.mark.timeout(60)


async def test_a_confirmed_instruction_is_sent_and_done(harness: AgentHarness, agent: AgentServer) -> None:
    instruction_id = await harness.confirmed("Darken scene 3")
    row = await harness.send(instruction_id)
    (request,) = agent.received

    assert (row.status, row.attempt, row.last_error) == ("done", 1, None)
    assert row.agent_response_json == {"status": "done"}
    assert (row.lease_owner, row.lease_expires_at, row.deadline_at) == (None, None, None)
    assert await harness.events(instruction_id) == [
        ("result", "remote_status=done, attempts=1, http_status=200")
    ]
    assert (request.method, request.path) == ("POST", "/run?key=hidden")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == f"127.0.0.1:{agent.port}"
    assert request.headers["authorization"] == "Bearer global-token"


async def test_the_envelope_holds_what_the_contract_names_and_a_callback(
    harness: AgentHarness, agent: AgentServer
) -> None:
    instruction_id = await harness.confirmed("Darken scene 3")
    await harness.send(instruction_id)
    body = agent.received[0].body
    callback, execution = body.pop("callback"), body.pop("execution")

    assert body == {
        "instruction_id": str(instruction_id),
        "project_slug": "comic",
        "instruction_type": "agent_instruction",
        "objective": "Darken scene 3",
        "payload": {"instruction_text": "Darken scene 3"},
        "constraints": {},
        "inputs": {},
        "confirmation_required": False,
        "requested_by": body["requested_by"],
    }
    assert body["requested_by"].startswith("user_")  # the project's owner
    assert (execution["attempt"], execution["max_attempts"]) == (1, 3)
    assert callback["url"].startswith(f"http://kroma.test/agent/callback/{instruction_id}?sig=")
    remaining = datetime.fromisoformat(callback["valid_until"]) - utc_now()
    assert timedelta(minutes=59) < remaining <= timedelta(hours=1)


@pytest.mark.parametrize(
    ("reply", "status", "word"),
    [
        pytest.param(said(status="done"), "done", "done", id="done"),
        pytest.param(said(status=" DONE "), "done", "done", id="in another spelling"),
        pytest.param(said(status="failed"), "failed", "failed", id="failed"),
        pytest.param(said(status="rejected"), "failed", "rejected", id="rejected"),
        pytest.param(said(status="running"), "running", "running", id="running"),
        pytest.param(said(status="accepted"), "running", "accepted", id="accepted"),
        pytest.param(said(status="queued"), "running", "queued", id="queued"),
        pytest.param(said(status="banana"), "failed", "banana", id="an unknown word"),
        pytest.param(said(message="hello"), "done", "done", id="no status"),
        pytest.param(http(204), "done", "done", id="no body"),
        pytest.param(http(200, b"<html>"), "done", "done", id="no JSON"),
        pytest.param(http(200, b"\xff\xfe"), "done", "done", id="no text"),
        pytest.param(http(200, b"[" * 50_000), "done", "done", id="too deep"),
        pytest.param(http(200, b"[1]"), "done", "done", id="no object"),
        pytest.param(http(200, b"null"), "done", "done", id="null"),
        pytest.param(http(200, b'{"status": "failed", "x": "\\u0000"}'), "failed", "failed", id="NUL"),
    ],
)
async def test_a_2xx_reply_decides(
    harness: AgentHarness, agent: AgentServer, reply: bytes, status: str, word: str
) -> None:
    agent.script(reply)
    instruction_id = await harness.confirmed()
    row = await harness.send(instruction_id)

    assert (row.status, row.attempt, row.lease_expires_at) == (status, 1, None)
    ((kind, text),) = await harness.events(instruction_id)
    assert kind == "result"
    assert re.fullmatch(rf"remote_status={word}, attempts=1, http_status=20[04]", text or "")
    assert len(agent.received) == 1


async def test_an_agents_reason_is_kept(harness: AgentHarness, agent: AgentServer) -> None:
    agent.script(said(status="failed", error="out of ink"))
    row = await harness.send(await harness.confirmed())

    assert (row.status, row.last_error) == ("failed", "out of ink")


@pytest.mark.parametrize("status", [500, 502, 503, 429])
async def test_a_passing_failure_is_tried_again_at_once(
    harness: AgentHarness, agent: AgentServer, status: int
) -> None:
    agent.script(http(status, b"busy"), http(status, b"busy"), said(status="done"))
    row = await harness.send(await harness.confirmed())

    assert (row.status, row.attempt, row.last_error) == ("done", 1, None)
    keys = [request.headers["idempotency-key"] for request in agent.received]
    assert len(keys) == 3
    assert len(set(keys)) == 1


async def test_a_failure_that_lasts_waits_for_the_next_attempt_and_ends_with_the_last(
    harness: AgentHarness, agent: AgentServer
) -> None:
    agent.script(http(503, b"busy"))
    instruction_id = await harness.confirmed()
    waits: list[timedelta] = []
    for attempt in (1, 2, 3):
        before = utc_now()
        row = await harness.send(instruction_id)
        assert (row.attempt, row.last_error) == (attempt, "http_503:busy")
        if attempt < 3:
            assert (row.status, row.lease_owner) == ("confirmed", None)
            assert row.available_at is not None
            waits.append(row.available_at - before)
            assert await harness.sweep() == []
            assert (await harness.send(instruction_id)).attempt == attempt
            await harness.let_pass(instruction_id, "available_at")
            assert await harness.sweep() == [instruction_id]
    kinds = [kind for kind, _ in await harness.events(instruction_id)]
    texts = [text or "" for _, text in await harness.events(instruction_id)]

    assert (row.status, row.available_at) == ("failed", None)
    assert waits[0] >= timedelta(seconds=10)
    assert waits[1] >= timedelta(seconds=20)
    assert kinds == ["retry_scheduled", "retry_scheduled", "error"]
    assert re.fullmatch(
        r"error=http_503:busy, attempts=1, max_attempts=3, next_attempt_at=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
        texts[0],
    )
    assert texts[2] == "error=http_503:busy, attempts=3, max_attempts=3, next_attempt_at=none"
    assert len({request.headers["idempotency-key"] for request in agent.received}) == 3
    assert len(agent.received) == 9


@pytest.mark.parametrize(
    "status", [pytest.param(code, id=str(code)) for code in (400, 401, 403, 404, 409, 410, 422)]
)
async def test_a_refusal_is_not_retried(harness: AgentHarness, agent: AgentServer, status: int) -> None:
    agent.script(http(status, b"no"))
    instruction_id = await harness.confirmed()
    row = await harness.send(instruction_id)

    assert (row.status, row.attempt, row.last_error) == ("failed", 1, f"http_{status}:no")
    assert await harness.events(instruction_id) == [
        ("error", f"error=http_{status}:no, attempts=1, max_attempts=3, next_attempt_at=none")
    ]
    assert len(agent.received) == 1


async def test_a_redirect_is_not_followed(harness: AgentHarness, agent: AgentServer) -> None:
    agent.script(http(307, b"", Location=f"http://127.0.0.1:{agent.port}/elsewhere"))
    row = await harness.send(await harness.confirmed())

    assert (row.status, row.last_error) == ("failed", "http_307:")
    assert [request.path for request in agent.received] == ["/run?key=hidden"]


async def test_what_an_agent_echoes_of_its_token_and_signature_is_hidden(
    harness: AgentHarness, agent: AgentServer
) -> None:
    async def echo(request: Received) -> bytes:
        signature = request.body["callback"]["url"].partition("?sig=")[2]
        return http(400, f"{request.headers['authorization']} {signature}".encode())

    agent.script(echo)
    row = await harness.send(await harness.confirmed())

    assert row.last_error == "http_400:Bearer [hidden] [hidden]"


async def test_what_an_agent_echoes_of_its_address_is_hidden(
    harness: AgentHarness, agent: AgentServer
) -> None:
    key, hook = "k-0123456789", "hook-0123456789abcdef"
    harness.configure(KROMA_AGENT_API_URL=f"http://127.0.0.1:{agent.port}/services/{hook}/run?key={key}&v=1")

    async def echo(request: Received) -> bytes:
        return http(400, f"no {request.path}, {key}, {hook}".encode())

    agent.script(echo)
    row = await harness.send(await harness.confirmed())

    assert row.last_error == "http_400:no /services/[hidden]/run?[hidden], [hidden], [hidden]"


async def test_what_an_agent_echoes_in_a_good_reply_is_hidden_too(
    harness: AgentHarness, agent: AgentServer
) -> None:
    async def echo(request: Received) -> bytes:
        token, url = request.headers["authorization"], request.body["callback"]["url"]
        return said(status="failed", error=f"bad {token}", echo=[{url: token}, request.path])

    agent.script(echo)
    row = await harness.send(await harness.confirmed())

    assert row.last_error == "bad Bearer [hidden]"
    shown = json.dumps(row.agent_response_json)
    assert "?sig=[hidden]" in shown
    assert "key=hidden" not in shown
    assert shown.count("[hidden]") == 4


async def test_a_slow_agent_is_a_passing_failure(harness: AgentHarness, agent: AgentServer) -> None:
    gone = asyncio.Event()

    async def never(_: Received) -> bytes:
        await gone.wait()
        return b""

    agent.script(never)
    harness.configure(KROMA_AGENT_API_URL=agent.url, KROMA_AGENT_TIMEOUT_S="0.2", KROMA_AGENT_RETRIES="0")
    row = await harness.send(await harness.confirmed())
    gone.set()

    assert row.status == "confirmed"
    assert row.last_error == "outbound_failed: No complete reply within 0.2 s"


async def test_an_oversized_reply_ends_the_instruction(harness: AgentHarness, agent: AgentServer) -> None:
    agent.script(http(200, b"x" * (1024**2 + 1)))
    row = await harness.send(await harness.confirmed())

    assert row.status == "failed"
    assert row.last_error == "outbound_failed: The reply is larger than 1048576 bytes"
    assert len(agent.received) == 1


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"", id="hangs up"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", id="hangs up halfway"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", id="speaks something else"),
    ],
)
async def test_a_broken_connection_is_a_passing_failure(
    harness: AgentHarness, agent: AgentServer, reply: bytes
) -> None:
    agent.script(reply, said(status="done"))
    row = await harness.send(await harness.confirmed())

    assert (row.status, len(agent.received)) == ("done", 2)


async def test_an_agent_that_does_not_listen_is_a_passing_failure(harness: AgentHarness) -> None:
    harness.configure(KROMA_AGENT_API_URL="http://127.0.0.1:1/", KROMA_AGENT_RETRIES="0")
    row = await harness.send(await harness.confirmed())

    assert (row.status, row.last_error) == ("confirmed", "outbound_failed: The connection failed")


async def test_an_address_that_may_not_be_called_ends_the_instruction(
    harness: AgentHarness, agent: AgentServer
) -> None:
    harness.configure(KROMA_AGENT_API_URL=agent.url, KROMA_URL_ALLOW="10.0.0.0/8")
    row = await harness.send(await harness.confirmed())

    assert row.status == "failed"
    assert (row.last_error or "").startswith("url_refused: The address is refused")
    assert agent.received == []


async def test_an_instruction_is_sent_by_one_worker_only(harness: AgentHarness, agent: AgentServer) -> None:
    instruction_id = await harness.confirmed()
    await asyncio.gather(*(harness.send(instruction_id) for _ in range(8)))

    assert len(agent.received) == 1


@pytest.mark.parametrize("status", ["pending", "canceled", "done", "failed"])
async def test_what_is_not_confirmed_is_left_alone(
    harness: AgentHarness, agent: AgentServer, status: str
) -> None:
    instruction_id = await harness.confirmed()
    await harness.put(instruction_id, status=status)
    row = await harness.send(instruction_id)

    assert (row.status, row.attempt, agent.received) == (status, 0, [])
    assert await harness.sweep() == []


async def test_due_instructions_are_swept_the_longest_unchanged_first(harness: AgentHarness) -> None:
    first, second = await harness.confirmed("first"), await harness.confirmed("second")
    assert await harness.sweep() == [first, second]
    await harness.let_pass(second, "updated_at")

    assert await harness.sweep() == [second, first]


async def test_a_cancel_while_it_runs_drops_the_outcome(harness: AgentHarness, agent: AgentServer) -> None:
    instruction_id = await harness.confirmed()

    async def canceled_meanwhile(_: Received) -> bytes:
        await harness.cancel(instruction_id)
        return said(status="done")

    agent.script(canceled_meanwhile)
    row = await harness.send(instruction_id)

    assert (row.status, row.agent_response_json) == ("canceled", None)
    assert [kind for kind, _ in await harness.events(instruction_id)] == ["canceled"]


async def test_a_cancel_between_two_tries_ends_the_trying(harness: AgentHarness, agent: AgentServer) -> None:
    instruction_id = await harness.confirmed()

    async def canceled_meanwhile(_: Received) -> bytes:
        await harness.cancel(instruction_id)
        return http(503)

    agent.script(canceled_meanwhile, said(status="done"))
    row = await harness.send(instruction_id)

    assert (row.status, row.last_error, len(agent.received)) == ("canceled", None, 1)


async def test_a_confirm_while_it_runs_drops_the_outcome_and_sends_it_again(
    harness: AgentHarness, agent: AgentServer
) -> None:
    instruction_id = await harness.confirmed()

    async def confirmed_meanwhile(_: Received) -> bytes:
        await harness.confirm(instruction_id)
        return said(status="failed")

    agent.script(confirmed_meanwhile, said(status="done"))
    between = await harness.send(instruction_id)
    assert (between.status, between.attempt) == ("confirmed", 0)
    row = await harness.send(instruction_id)

    assert (row.status, row.attempt) == ("done", 1)
    first, second = (request.headers["idempotency-key"] for request in agent.received)
    assert first != second


async def test_a_worker_that_dies_costs_its_lease_and_one_attempt(
    harness: AgentHarness, agent: AgentServer
) -> None:
    instruction_id = await harness.confirmed()
    reached, gone = asyncio.Event(), asyncio.Event()

    async def hang(_: Received) -> bytes:
        reached.set()
        await gone.wait()
        return b""

    agent.script(hang, said(status="done"))
    dying = asyncio.ensure_future(harness.send(instruction_id))
    await reached.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    gone.set()
    held = await harness.row(instruction_id)

    assert (held.status, held.attempt, held.lease_owner) == ("running", 1, "worker-1")
    assert held.lease_expires_at is not None
    assert held.lease_expires_at - utc_now() > timedelta(seconds=100)
    assert await harness.sweep() == []
    assert (await harness.send(instruction_id)).attempt == 1
    await harness.let_pass(instruction_id, "lease_expires_at")
    assert await harness.sweep() == [instruction_id]
    row = await harness.send(instruction_id)
    assert (row.status, row.attempt) == ("done", 2)


async def test_an_instruction_whose_workers_all_died_fails(harness: AgentHarness) -> None:
    instruction_id = await harness.confirmed()
    await harness.put(instruction_id, status="running", attempt=3, lease_owner="w")
    await harness.let_pass(instruction_id, "lease_expires_at")
    due = await harness.sweep()
    row = await harness.row(instruction_id)

    assert (due, row.status, row.last_error) == ([], "failed", "worker_lost")
    assert await harness.events(instruction_id) == [
        ("error", "error=worker_lost, attempts=3, max_attempts=3, next_attempt_at=none")
    ]


async def test_the_larger_number_of_attempts_counts(harness: AgentHarness, agent: AgentServer) -> None:
    harness.configure(KROMA_AGENT_API_URL=agent.url, KROMA_AGENT_MAX_ATTEMPTS="5", KROMA_AGENT_RETRIES="0")
    agent.script(http(500))
    instruction_id = await harness.confirmed()
    await harness.put(instruction_id, attempt=3)
    row = await harness.send(instruction_id)

    assert (row.status, row.attempt, row.max_attempts) == ("confirmed", 4, 5)
