"""Calls that cost money while the real stack stops and starts."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from kroma.embedded.server_process import spawn
from support.doubles import openai_double
from support.servers.kroma_stack import BODY, Project, Up, eventually

pytestmark = pytest.mark.timeout(120)

StartUp = Callable[..., Up]
SETTINGS = {
    "KROMA_URL_ALLOW": "127.0.0.1",
    "KROMA_OPENAI_API_KEY": "sk-of-the-house-0a1b",
    # One call at a time, so that one is in flight and the other has not left.
    "KROMA_PROVIDER_CONCURRENCY": "1",
    # A job with a call in flight is never done within it, and has to be handed over.
    "KROMA_WORKER_GRACE_S": "0",
}


class Double:
    """The paid provider's double in a process of its own, which outlives the stack."""

    def __init__(self, folder: Path) -> None:
        self._output = folder / "double.out"
        with self._output.open("ab") as output:
            self.process = spawn(
                [sys.executable, openai_double.__file__, "--echo"],
                death_signal=signal.SIGKILL,
                output=output,
                environment=os.environ,
            )
        eventually(lambda: "listening on " in self._output.read_text())
        self.url = self._output.read_text().partition("listening on ")[2].split()[0]

    def script(self, *faults: dict[str, Any]) -> None:
        httpx.post(f"{self.url.removesuffix('/v1')}/double/script", content=json.dumps(faults))

    def state(self) -> dict[str, Any]:
        return httpx.get(f"{self.url.removesuffix('/v1')}/double/state").raise_for_status().json()


@pytest.fixture
def double(tmp_path: Path) -> Iterator[Double]:
    opened = Double(tmp_path)
    yield opened
    opened.process.kill()
    opened.process.wait()


def worker_log(up: Up) -> str:
    return "".join(path.read_text() for path in (up.data_dir / "logs").glob("worker*"))


async def ledger(database_url: str) -> list[tuple[str, int]]:
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("SELECT status, number FROM provider_calls ORDER BY created_at")
    await connection.close()
    return [(row["status"], row["number"]) for row in rows]


def test_a_call_in_flight_when_the_stack_stops_is_settled_and_not_sent_again(
    start_up: StartUp, double: Double, fresh_database_url: str, redis_url: str
) -> None:
    # Servers that run already: their start would take longer than all the rest.
    addresses = {"KROMA_DATABASE_URL": fresh_database_url, "KROMA_REDIS_URL": redis_url}
    first = start_up(**SETTINGS, **addresses).ready()
    project = Project(first, "In flight")
    account = {"provider_code": "openai", "base_url": double.url}
    project.client.post(f"{project.path}/provider-accounts", json=account).raise_for_status()
    double.script({"delay_after_s": 2.0})
    body = BODY | {"provider": "openai", "candidates": 1}
    where = project.client.post(f"{project.path}/runs/trigger", json=body).headers["Location"]
    eventually(lambda: double.state()["billed"] == 1)
    assert first.stop() == 0
    assert double.state()["in_flight"] == 0, "the answer that was being paid for was not awaited"
    assert double.state()["calls"] == 1, "a call left while the worker was stopping"
    assert asyncio.run(ledger(fresh_database_url)) == [("settled", 1)]
    assert "Traceback" not in worker_log(first)

    second = start_up(**SETTINGS, **addresses).ready()
    project.client.base_url = second.address
    eventually(lambda: project.client.get(where).json()["run"]["done"])

    run = project.client.get(where).json()["run"]
    assert (run["status"], run["error"]) == ("ok", "")
    calls = project.get("/provider-calls")["provider_calls"]
    assert [(call["status"], call["number"]) for call in calls] == [("settled", 1)] * 2
    billed = double.state()
    assert billed["calls"] == billed["billed"] == 2
    assert sorted(billed["keys"]) == sorted(call["id"] for call in calls)
    costs = project.get("/cost-events")["cost_events"]
    assert sorted(cost["total_cost_usd"] for cost in costs) == sorted(call["cost_usd"] for call in calls)
    jobs = project.get(f"/runs/{run['id']}/jobs")["jobs"]
    assert all((project.root / job["final_output"]).is_file() for job in jobs)
    project.client.close()
