"""What is logged and counted of work, from the request to the last step."""

import json
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import func, update
from structlog.contextvars import bound_contextvars

from kroma.health.state import InstallationState
from kroma.leases.sweep import end_spent
from kroma.metrics import REGISTRY
from kroma.pipeline.execution.claim import claim_job
from kroma.pipeline.execution.sweep import fail_spent
from kroma.providers.fake import FakeOutcome
from kroma.runs.models import RunJob
from support.harness.worker_harness import Studio

pytestmark = pytest.mark.timeout(120)


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def lines(captured: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in captured.readouterr().out.splitlines() if line.startswith("{")]


async def test_every_step_is_one_line_with_the_request_that_asked_for_it(
    studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    with bound_contextvars(request_id="from-a-proxy.1"):
        run = await studio.trigger(["harbor.png"])
    before = value("kroma_step_duration_seconds_count", step="generate", outcome="done")
    calls = value("kroma_provider_calls_total", provider="fake", model="", outcome="answered")
    ended = value("kroma_runs_ended_total", status="ok")
    await studio.work()

    said = lines(capsys)
    steps = [line for line in said if line["event"] == "step"]
    (job,) = (await studio.rows(run)).jobs
    assert [line["step"] for line in steps] == ["generate", "check_quality", "rank", "finish"]
    for line in steps:
        assert line["outcome"] == "done"
        assert line["run_id"] == str(run.id)
        assert line["request_id"] == "from-a-proxy.1"
        assert line["attempt"] == 1
        assert line["duration_ms"] >= 0
    assert {line["job_id"] for line in steps[:-1]} == {str(job.id)}
    (of_job,) = [line for line in said if line["event"] == "job.ended"]
    assert of_job["request_id"] == "from-a-proxy.1"
    assert value("kroma_step_duration_seconds_count", step="generate", outcome="done") == before + 1
    assert value("kroma_provider_calls_total", provider="fake", model="", outcome="answered") == calls + 2
    assert value("kroma_runs_ended_total", status="ok") == ended + 1


async def test_a_step_that_fails_says_why(studio: Studio, capsys: pytest.CaptureFixture[str]) -> None:
    studio.script(FakeOutcome(error="not today"))
    await studio.trigger(["harbor.png"])
    await studio.work()

    failed = [line for line in lines(capsys) if line["event"] == "step" and line["outcome"] == "failed"]
    assert failed
    assert all(line["error_code"] for line in failed)


async def test_a_lease_that_ran_out_is_counted_once(studio: Studio) -> None:
    def found() -> tuple[float, float]:
        return (
            value("kroma_leases_expired_total", outcome="taken_over"),
            value("kroma_leases_expired_total", outcome="ended"),
        )

    async def expire(**values: Any) -> None:
        past = func.clock_timestamp() - timedelta(seconds=1)
        async with studio.db.transaction() as session:
            await session.execute(update(RunJob).values(lease_expires_at=past, **values))

    run = await studio.trigger(["harbor.png"])
    (message,) = await studio.job_messages(run)
    before = found()
    await claim_job(studio.db, message.job_id, worker="a")
    assert found() == before
    await expire()
    await claim_job(studio.db, message.job_id, worker="b")
    assert found() == (before[0] + 1, before[1])
    await expire(attempt=RunJob.max_attempts)
    await end_spent(studio.db, fail_spent)
    assert found() == (before[0] + 1, before[1] + 1)


async def test_what_waits_is_in_the_gauges(studio: Studio) -> None:
    run = await studio.trigger()
    first, _ = await studio.job_messages(run)
    await claim_job(studio.db, first.job_id, worker="a")
    state, registry = InstallationState(studio.db), CollectorRegistry()
    registry.register(state)
    await state.refresh()

    def gauge(name: str) -> float | None:
        return registry.get_sample_value(f"kroma_{name}")

    shown = ("queue_depth", "jobs_queued", "jobs_running", "runs_open")
    assert [gauge(name) for name in shown] == [1, 1, 1, 1]
    assert (gauge("queue_oldest_seconds") or 0) > 0
