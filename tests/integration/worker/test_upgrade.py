"""What an older worker began, today's finishes: rows, pictures and messages as that version left them.

Each file in ``tests/fixtures/begun`` was recorded by the version it is named after, halfway through the
first of two jobs, as if its worker had been killed there.
"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from kroma.pipeline.execution.claim import claim_job
from kroma.pipeline.execution.image_job import STEP_VERSION
from kroma.pipeline.planning.plan import PLAN_VERSION
from kroma.queue.messages import MESSAGE_VERSION, ExecuteJob, readable
from kroma.runs.models import Run
from support.harness.worker_harness import Studio

pytestmark = pytest.mark.timeout(120)

FOLDER = Path(__file__).parents[2] / "fixtures" / "begun"
BEGUN = sorted(FOLDER.glob("*.json"))
TABLES = ("runs", "run_jobs", "run_steps", "run_candidates", "run_events")


def recorded_by(path: Path) -> str:
    return path.read_text()


async def load(studio: Studio, recorded: str) -> dict[str, Any]:
    begun = json.loads(
        recorded.replace("{root}", str(studio.root))
        .replace("{data}", str(studio.settings.data_dir))
        .replace("{project}", str(studio.project.id))
    )
    async with studio.db.transaction() as session:
        await session.execute(text("SET LOCAL session_replication_role = replica"))
        for table in TABLES:
            for row in begun["rows"][table]:
                # Only what that version knew: columns that came later take their defaults.
                columns = ", ".join(row)
                await session.execute(
                    text(
                        f"INSERT INTO {table} ({columns}) "  # noqa: S608 - names from our own file
                        f"SELECT {columns} FROM jsonb_populate_record(NULL::{table}, CAST(:row AS jsonb))"
                    ),
                    {"row": json.dumps(row)},
                )
    return begun


def keep_pictures(studio: Studio, files: dict[str, str]) -> None:
    for key, data in files.items():
        target = studio.root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(base64.b64decode(data))


async def expire(studio: Studio) -> None:
    async with studio.db.transaction() as session:
        await session.execute(
            text("UPDATE run_jobs SET lease_expires_at = clock_timestamp() WHERE status = 'running'")
        )


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in BEGUN])
async def test_todays_worker_finishes_what_an_older_one_began(studio: Studio, path: Path) -> None:
    begun = await load(studio, recorded_by(path))
    keep_pictures(studio, begun["files"])
    await expire(studio)
    messages = [readable(base64.b64decode(message)) for message in begun["messages"]]
    studio.queue.messages = [message for message in messages if message is not None]
    assert len(studio.queue.messages) == 2
    await studio.work()
    (run,) = begun["rows"]["runs"]
    rows = await studio.rows(Run(id=run["id"]))
    assert (rows.run.status, rows.run.error) == ("ok", None)
    assert [(job.status, job.selected_candidate_index) for job in rows.jobs] == [("done", 1), ("done", 1)]
    # The picture that was there is kept: the killed worker's first candidate is not made again.
    calls = {(call.scene, call.candidate_index) for call in studio.provider.calls}
    assert calls == {("harbor.png", 2), ("tower.png", 1), ("tower.png", 2)}


async def test_the_versions_of_today_have_a_recording(studio: Studio) -> None:
    """A new version of plan, step or message wants a new file, and a reader of the old ones."""
    begun = await load(studio, recorded_by(BEGUN[-1]))
    (run,) = begun["rows"]["runs"]
    assert run["plan_json"]["version"] == PLAN_VERSION
    assert {step["version"] for step in begun["rows"]["run_steps"]} == {STEP_VERSION}
    message = readable(base64.b64decode(begun["messages"][0]))
    assert isinstance(message, ExecuteJob)
    assert message.version == MESSAGE_VERSION


async def test_what_a_newer_worker_began_is_left_to_it(studio: Studio) -> None:
    begun = await load(studio, recorded_by(BEGUN[-1]))
    await expire(studio)
    async with studio.db.transaction() as session:
        await session.execute(text("UPDATE run_steps SET version = version + 1"))
    jobs = {job["status"]: job["id"] for job in begun["rows"]["run_jobs"]}
    assert await claim_job(studio.db, jobs["running"], worker="old") is None
    assert await claim_job(studio.db, jobs["queued"], worker="old") is not None
