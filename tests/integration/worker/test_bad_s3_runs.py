"""Runs whose bucket refuses, breaks, dawdles and damages: what passes is waited for, what stays is named."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from sqlalchemy import update

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.pipeline.execution.sweep import list_due
from kroma.runs.models import Run, RunJob
from kroma.storage.access import RetryPolicy
from kroma.storage.s3 import S3Stores
from support.builders.factories import make_project, scene_png
from support.doubles.s3_double import Asked, S3Double, Verdict, cut, forever, refusal, s3_double
from support.harness.worker_harness import RowMapper, Studio
from support.servers.s3_server import access_to

pytestmark = pytest.mark.timeout(120)

ONCE = RetryPolicy(read_timeout=timedelta(seconds=2), attempts=1)
Answer = Callable[[web.Request], web.StreamResponse]
Concerns = Callable[[Asked], bool]


@pytest.fixture
async def double(s3_server: str) -> AsyncIterator[S3Double]:
    async with s3_double(s3_server) as opened:
        yield opened


@pytest.fixture
async def studio(
    fresh_db: Database, cpu: CpuPool, data_dir: Path, double: S3Double, s3_bucket: str
) -> AsyncIterator[Studio]:
    stores = S3Stores(s3_bucket, "iat-projects", access_to(double.endpoint), retry_policy=ONCE)
    async with fresh_db.transaction() as session:
        project = await make_project(session, slug="comic")
    location = stores.locate(project_id=project.id, slug="comic", storage=None)
    await stores.open(location).put("harbor.png", scene_png())
    settings = Settings.from_environment({"KROMA_PROVIDER": "fake"}, data_dir=data_dir)
    opened = Studio(fresh_db, cpu, settings, project, stores)
    yield opened
    await opened.renewer.close()
    await stores.close()


def is_candidate(asked: Asked) -> bool:
    return asked.method == "PUT" and asked.path.endswith("__c1.png")


def is_style_scene(asked: Asked) -> bool:
    return asked.method == "GET" and asked.path.endswith("/harbor.png")


async def carried_on(studio: Studio, run: Run) -> RowMapper:
    """The run after everything that waits for its time has been tried again."""
    for _ in range(10):
        await studio.work()
        async with studio.db.transaction() as session:
            await session.execute(update(RunJob).values(available_at=None))
        studio.queue.messages = await list_due(studio.db)
        if not studio.queue.messages:
            return await studio.rows(run)
    raise AssertionError("the run does not come to an end")


def failing(
    double: S3Double, concerns: Concerns, answer: Answer | None, *, times: int
) -> list[Answer | None]:
    """Some requests get this answer, or none at all; what comes back is how many still would."""
    left: list[object] = [answer] * times

    async def rule(asked: Asked, request: web.Request) -> Verdict:
        if not left or not concerns(asked):
            return None
        left.pop()
        if answer is None:
            await forever()
            return None
        return answer(request)

    double.rule = rule
    return left


@pytest.mark.parametrize("concerns", [is_candidate, is_style_scene])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda _: refusal(500, "InternalError"), id="500"),
        pytest.param(lambda _: refusal(503, "SlowDown"), id="slow-down"),
        pytest.param(lambda _: refusal(400, "BadDigest"), id="digest"),
        pytest.param(cut, id="cut"),
        pytest.param(None, id="silent"),
    ],
)
async def test_what_passes_costs_an_attempt_and_no_picture(
    studio: Studio, double: S3Double, concerns: Concerns, answer: Answer | None
) -> None:
    run = await studio.trigger(["harbor.png"], candidates=2)
    # A connection that was open before is tried once more by the client itself: two failures are met.
    left = failing(double, concerns, answer, times=2)
    rows = await carried_on(studio, run)

    assert (rows.run.status, left) == ("ok", []), rows.run.error
    (job,) = rows.jobs
    assert (job.status, job.attempt) in {("done", 2), ("done", 3)}
    assert sum(asset.rel_path.endswith(("__c1.png", "__c2.png")) for asset in rows.assets) == 2
    location = studio.stores.locate(project_id=studio.project.id, slug="comic", storage=None)
    for asset in rows.assets:
        assert asset.sha256
        # Read back under its hash: what the failure left is no half picture.
        await studio.stores.open(location).get(asset.rel_path, limit_bytes=10**8, sha256=asset.sha256)


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        pytest.param(
            lambda _: refusal(403, "AccessDenied"), "store_forbidden", "s3:PutObject", id="forbidden"
        ),
        pytest.param(lambda _: refusal(404, "NoSuchBucket"), "bucket_not_found", "not exist", id="bucket"),
        pytest.param(lambda _: refusal(507, "InsufficientStorage"), "store_full", "No space left", id="full"),
    ],
)
async def test_what_stays_is_named_and_works_once_it_is_mended(
    studio: Studio, double: S3Double, answer: Answer, code: str, told: str
) -> None:
    run = await studio.trigger(["harbor.png"], candidates=2)
    failing(double, is_candidate, answer, times=99)
    rows = await carried_on(studio, run)

    assert (rows.run.status, rows.run.error_kind, rows.run.error_code) == ("failed", "infra", code)
    assert told in (rows.run.error or "")
    assert double.endpoint not in (rows.run.error or "")
    assert [asset for asset in rows.assets if asset.rel_path.endswith("__c1.png")] == []

    double.rule = None
    again = await studio.trigger(["harbor.png"], candidates=2)
    assert (await carried_on(studio, again)).run.status == "ok"
