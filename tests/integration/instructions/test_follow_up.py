"""Agents that take an instruction on and report later."""

import asyncio
from urllib.parse import urlsplit

import pytest

from support.doubles.agent_server import AgentServer, Received, http, said
from support.harness.agent_harness import AgentHarness

pytestmark = pytest.mark.timeout(60)


def callback(request: Received) -> str:
    """The path and query that the agent was given."""
    url = urlsplit(request.body["callback"]["url"])
    return f"{url.path}?{url.query}"


@pytest.mark.parametrize("word", ["accepted", "running", "queued"])
@pytest.mark.parametrize(("end", "status"), [("done", "done"), ("failed", "failed")])
async def test_an_agent_that_took_it_on_reports_the_end(
    harness: AgentHarness, agent: AgentServer, word: str, end: str, status: str
) -> None:
    agent.script(said(status=word))
    instruction_id = await harness.confirmed()
    taken = await harness.send(instruction_id)
    assert (taken.status, taken.lease_expires_at) == ("running", None)
    assert taken.deadline_at is not None
    assert await harness.sweep() == []
    async with harness.api() as api:
        response = await api.post(callback(agent.received[0]), json={"status": end})
    row = await harness.row(instruction_id)

    assert (response.status_code, response.json()["applied"]) == (200, True)
    assert (row.status, row.deadline_at) == (status, None)
    assert await harness.events(instruction_id) == [
        ("result", f"remote_status={word}, attempts=1, http_status=200"),
        ("result", f"remote_status={end}, attempts=1, http_status=none"),
    ]


async def test_an_agent_that_never_reports_fails_at_the_deadline(
    harness: AgentHarness, agent: AgentServer
) -> None:
    agent.script(said(status="running"))
    instruction_id = await harness.confirmed()
    await harness.send(instruction_id)
    await harness.let_pass(instruction_id, "deadline_at")
    due = await harness.sweep()
    row = await harness.row(instruction_id)

    assert (due, row.status, row.last_error) == ([], "failed", "no_result_before_deadline")
    assert (await harness.events(instruction_id))[1:] == [
        ("error", "error=no_result_before_deadline, attempts=1, max_attempts=3, next_attempt_at=none")
    ]
    assert await harness.sweep() == []
    assert len(await harness.events(instruction_id)) == 2


async def test_an_end_reported_before_the_reply_stands(harness: AgentHarness, agent: AgentServer) -> None:
    async def report_first(request: Received) -> bytes:
        async with harness.api() as api:
            await api.post(callback(request), json={"status": "done", "result": 7})
        return said(status="accepted")

    agent.script(report_first)
    instruction_id = await harness.confirmed()
    row = await harness.send(instruction_id)

    assert (row.status, row.agent_response_json) == ("done", {"status": "done", "result": 7})
    assert [kind for kind, _ in await harness.events(instruction_id)] == ["result"]


async def test_an_agent_that_reports_progress_is_not_asked_again_when_its_reply_is_lost(
    harness: AgentHarness, agent: AgentServer
) -> None:
    async def report_then_break(request: Received) -> bytes:
        async with harness.api() as api:
            await api.post(callback(request), json={"status": "running"})
        return http(502)

    agent.script(report_then_break)
    instruction_id = await harness.confirmed()
    row = await harness.send(instruction_id)

    assert (row.status, row.last_error, len(agent.received)) == ("running", None, 1)
    assert [kind for kind, _ in await harness.events(instruction_id)] == ["status_change"]


async def test_a_reply_after_reported_progress_counts(harness: AgentHarness, agent: AgentServer) -> None:
    async def report_then_end(request: Received) -> bytes:
        async with harness.api() as api:
            await api.post(callback(request), json={"status": "running"})
        return said(status="done")

    agent.script(report_then_end)
    row = await harness.send(await harness.confirmed())

    assert row.status == "done"


async def test_a_report_after_a_cancel_changes_nothing(harness: AgentHarness, agent: AgentServer) -> None:
    agent.script(said(status="accepted"))
    instruction_id = await harness.confirmed()
    await harness.send(instruction_id)
    await harness.cancel(instruction_id)
    async with harness.api() as api:
        response = await api.post(callback(agent.received[0]), json={"status": "done"})

    assert (response.status_code, response.json()["status"]) == (200, "canceled")
    assert (await harness.row(instruction_id)).status == "canceled"


async def test_a_report_of_an_earlier_round_does_not_end_the_new_one(
    harness: AgentHarness, agent: AgentServer
) -> None:
    agent.script(said(status="accepted"))
    instruction_id = await harness.confirmed()
    await harness.send(instruction_id)
    await harness.confirm(instruction_id)
    await harness.send(instruction_id)
    old, new = (callback(request) for request in agent.received)
    async with harness.api() as api:
        stale = await api.post(old, json={"status": "failed"})
        fresh = await api.post(new, json={"status": "done"})

    assert (stale.json()["applied"], fresh.json()["applied"]) == (False, True)
    assert (await harness.row(instruction_id)).status == "done"


async def test_two_ends_reported_at_once_leave_one(harness: AgentHarness, agent: AgentServer) -> None:
    agent.script(said(status="accepted"))
    instruction_id = await harness.confirmed()
    await harness.send(instruction_id)
    path = callback(agent.received[0])
    async with harness.api() as api:
        responses = await asyncio.gather(
            *(api.post(path, json={"status": end}) for end in ("done", "failed") * 5)
        )

    assert {response.status_code for response in responses} == {200}
    assert sum(response.json()["applied"] for response in responses) == 1
    assert len(await harness.events(instruction_id)) == 2
