"""Where instructions go, and which token goes with them."""

import pytest
from sqlalchemy import update

from kroma.leases.sweep import BATCH
from kroma.secrets.models import ProjectSecret
from support.doubles.agent_server import AgentServer
from support.harness.agent_harness import Desk

pytestmark = pytest.mark.timeout(60)


async def test_without_an_address_an_instruction_waits_and_counts_no_attempt(
    desk: Desk, agent: AgentServer
) -> None:
    desk.configure()
    instruction_id = await desk.confirmed()
    confirmed = await desk.row(instruction_id)
    row = await desk.send(instruction_id)

    assert (row.status, row.attempt, row.last_error) == ("confirmed", 0, "missing_agent_api_url")
    assert (row.lease_owner, row.available_at) == (None, None)
    assert (row.updated_at, row.fence) == (confirmed.updated_at, confirmed.fence)
    assert await desk.events(instruction_id) == []
    assert await desk.sweep() == []
    assert agent.received == []


async def test_a_sweep_says_what_is_missing(desk: Desk) -> None:
    desk.configure()
    instruction_id = await desk.confirmed()
    due = await desk.sweep()
    row = await desk.row(instruction_id)

    assert (due, row.status, row.last_error) == ([], "confirmed", "missing_agent_api_url")


async def test_it_is_sent_once_the_project_has_an_address(desk: Desk, agent: AgentServer) -> None:
    desk.configure()
    instruction_id = await desk.confirmed()
    await desk.send(instruction_id)
    await desk.store("url", agent.url)
    assert await desk.sweep() == [instruction_id]
    row = await desk.send(instruction_id)

    assert (row.status, row.attempt, row.last_error) == ("done", 1, None)


async def test_it_is_sent_once_the_settings_have_an_address(desk: Desk, agent: AgentServer) -> None:
    desk.configure()
    instruction_id = await desk.confirmed()
    await desk.send(instruction_id)
    desk.configure(KROMA_AGENT_API_URL=agent.url)
    assert await desk.sweep() == [instruction_id]

    assert (await desk.send(instruction_id)).status == "done"


async def test_an_address_that_a_project_chose_never_gets_the_settings_token(
    desk: Desk, agent: AgentServer
) -> None:
    desk.configure(KROMA_AGENT_API_TOKEN="global-token")
    await desk.store("url", agent.url)
    await desk.send(await desk.confirmed())

    assert len(agent.received) == 1
    assert "authorization" not in agent.received[0].headers


async def test_an_address_that_a_project_chose_gets_the_projects_token(
    desk: Desk, agent: AgentServer
) -> None:
    desk.configure(KROMA_AGENT_API_TOKEN="global-token")
    await desk.store("url", agent.url)
    await desk.store("token", "project-token")
    await desk.send(await desk.confirmed())

    assert agent.received[0].headers["authorization"] == "Bearer project-token"


async def test_the_settings_come_before_the_projects_secrets(desk: Desk, agent: AgentServer) -> None:
    await desk.store("url", "http://127.0.0.1:1/")
    await desk.store("token", "project-token")
    row = await desk.send(await desk.confirmed())

    assert row.status == "done"
    assert agent.received[0].headers["authorization"] == "Bearer global-token"


async def test_the_settings_address_takes_the_projects_token_when_the_settings_have_none(
    desk: Desk, agent: AgentServer
) -> None:
    desk.configure(KROMA_AGENT_API_URL=agent.url)
    await desk.store("token", "project-token")
    await desk.send(await desk.confirmed())

    assert agent.received[0].headers["authorization"] == "Bearer project-token"


async def test_without_any_token_none_is_sent(desk: Desk, agent: AgentServer) -> None:
    desk.configure(KROMA_AGENT_API_URL=agent.url)
    await desk.send(await desk.confirmed())

    assert "authorization" not in agent.received[0].headers


async def test_the_originals_variables_are_read_as_well(desk: Desk, agent: AgentServer) -> None:
    desk.configure(IAT_AGENT_API_URL=agent.url, IAT_AGENT_API_TOKEN="old-name")
    await desk.send(await desk.confirmed())

    assert agent.received[0].headers["authorization"] == "Bearer old-name"


async def test_an_address_that_does_not_open_is_looked_at_later(desk: Desk, agent: AgentServer) -> None:
    desk.configure()
    await desk.store("url", agent.url)
    async with desk.db.transaction() as session:
        await session.execute(update(ProjectSecret).values(secret_value="enc:v2:AAAA"))
    instruction_id = await desk.confirmed()
    row = await desk.send(instruction_id)

    assert (row.status, row.attempt) == ("confirmed", 0)
    assert (row.last_error or "").startswith("Secret agent_api/url does not open")
    assert row.available_at is not None
    await desk.store("url", agent.url)
    await desk.let_pass(instruction_id, "available_at")
    assert (await desk.send(instruction_id)).status == "done"


async def test_projects_without_an_address_do_not_stand_in_the_way(desk: Desk, agent: AgentServer) -> None:
    desk.configure()
    waiting = [await desk.confirmed() for _ in range(3)]
    for instruction_id in waiting:
        await desk.let_pass(instruction_id, "updated_at")
    assert len(waiting) < BATCH
    assert await desk.sweep() == []
    await desk.store("url", agent.url)

    assert await desk.sweep() == waiting
