"""Where instructions go, and which token goes with them."""

import pytest
from sqlalchemy import update

from kroma.leases.sweep import BATCH
from kroma.secrets.models import ProjectSecret
from support.doubles.agent_server import AgentServer
from support.harness.agent_harness import AgentHarness

pytestmark = pytest.mark.timeout(60)


async def test_without_an_address_an_instruction_waits_and_counts_no_attempt(
    harness: AgentHarness, agent: AgentServer
) -> None:
    harness.configure()
    instruction_id = await harness.confirmed()
    confirmed = await harness.row(instruction_id)
    row = await harness.send(instruction_id)

    assert (row.status, row.attempt, row.last_error) == ("confirmed", 0, "missing_agent_api_url")
    assert (row.lease_owner, row.available_at) == (None, None)
    assert (row.updated_at, row.fence) == (confirmed.updated_at, confirmed.fence)
    assert await harness.events(instruction_id) == []
    assert await harness.sweep() == []
    assert agent.received == []


async def test_a_sweep_says_what_is_missing(harness: AgentHarness) -> None:
    harness.configure()
    instruction_id = await harness.confirmed()
    due = await harness.sweep()
    row = await harness.row(instruction_id)

    assert (due, row.status, row.last_error) == ([], "confirmed", "missing_agent_api_url")


async def test_it_is_sent_once_the_project_has_an_address(harness: AgentHarness, agent: AgentServer) -> None:
    harness.configure()
    instruction_id = await harness.confirmed()
    await harness.send(instruction_id)
    await harness.store("url", agent.url)
    assert await harness.sweep() == [instruction_id]
    row = await harness.send(instruction_id)

    assert (row.status, row.attempt, row.last_error) == ("done", 1, None)


async def test_it_is_sent_once_the_settings_have_an_address(
    harness: AgentHarness, agent: AgentServer
) -> None:
    harness.configure()
    instruction_id = await harness.confirmed()
    await harness.send(instruction_id)
    harness.configure(KROMA_AGENT_API_URL=agent.url)
    assert await harness.sweep() == [instruction_id]

    assert (await harness.send(instruction_id)).status == "done"


async def test_an_address_that_a_project_chose_never_gets_the_settings_token(
    harness: AgentHarness, agent: AgentServer
) -> None:
    harness.configure(KROMA_AGENT_API_TOKEN="global-token")
    await harness.store("url", agent.url)
    await harness.send(await harness.confirmed())

    assert len(agent.received) == 1
    assert "authorization" not in agent.received[0].headers


async def test_an_address_that_a_project_chose_gets_the_projects_token(
    harness: AgentHarness, agent: AgentServer
) -> None:
    harness.configure(KROMA_AGENT_API_TOKEN="global-token")
    await harness.store("url", agent.url)
    await harness.store("token", "project-token")
    await harness.send(await harness.confirmed())

    assert agent.received[0].headers["authorization"] == "Bearer project-token"


async def test_the_settings_come_before_the_projects_secrets(
    harness: AgentHarness, agent: AgentServer
) -> None:
    await harness.store("url", "http://127.0.0.1:1/")
    await harness.store("token", "project-token")
    row = await harness.send(await harness.confirmed())

    assert row.status == "done"
    assert agent.received[0].headers["authorization"] == "Bearer global-token"


async def test_the_settings_address_takes_the_projects_token_when_the_settings_have_none(
    harness: AgentHarness, agent: AgentServer
) -> None:
    harness.configure(KROMA_AGENT_API_URL=agent.url)
    await harness.store("token", "project-token")
    await harness.send(await harness.confirmed())

    assert agent.received[0].headers["authorization"] == "Bearer project-token"


async def test_without_any_token_none_is_sent(harness: AgentHarness, agent: AgentServer) -> None:
    harness.configure(KROMA_AGENT_API_URL=agent.url)
    await harness.send(await harness.confirmed())

    assert "authorization" not in agent.received[0].headers


async def test_the_originals_variables_are_read_as_well(harness: AgentHarness, agent: AgentServer) -> None:
    harness.configure(IAT_AGENT_API_URL=agent.url, IAT_AGENT_API_TOKEN="old-name")
    await harness.send(await harness.confirmed())

    assert agent.received[0].headers["authorization"] == "Bearer old-name"


async def test_an_address_that_does_not_open_is_looked_at_later(
    harness: AgentHarness, agent: AgentServer
) -> None:
    harness.configure()
    await harness.store("url", agent.url)
    async with harness.db.transaction() as session:
        await session.execute(update(ProjectSecret).values(secret_value="enc:v2:AAAA"))
    instruction_id = await harness.confirmed()
    row = await harness.send(instruction_id)

    assert (row.status, row.attempt) == ("confirmed", 0)
    assert (row.last_error or "").startswith("Secret agent_api/url cannot be decrypted")
    assert row.available_at is not None
    await harness.store("url", agent.url)
    await harness.let_pass(instruction_id, "available_at")
    assert (await harness.send(instruction_id)).status == "done"


async def test_projects_without_an_address_do_not_stand_in_the_way(
    harness: AgentHarness, agent: AgentServer
) -> None:
    harness.configure()
    waiting = [await harness.confirmed() for _ in range(3)]
    for instruction_id in waiting:
        await harness.let_pass(instruction_id, "updated_at")
    assert len(waiting) < BATCH
    assert await harness.sweep() == []
    await harness.store("url", agent.url)

    assert await harness.sweep() == waiting
