"""Several ingests at the same time, over connections of their own."""

import asyncio
import json
from pathlib import Path

import pytest
from sqlalchemy import func, select

from kroma.assets.models import Asset, AssetLink
from kroma.db.engine import Database
from kroma.ingest.service import ingest_log
from kroma.quality.models import QualityReport
from kroma.runs.models import Run, RunCandidate, RunJob
from support.builders.factories import make_project

pytestmark = pytest.mark.timeout(60)

LOGS = Path(__file__).parents[2] / "contract" / "runlogs"


async def counts(db: Database) -> list[int]:
    models = (Run, RunJob, RunCandidate, Asset, AssetLink, QualityReport)
    async with db.transaction() as session:
        return [await session.scalar(select(func.count()).select_from(m)) or 0 for m in models]


@pytest.mark.parametrize("name", ["g2_run_ok.json", "v2_run.json"])
async def test_one_log_ingested_four_times_at_once_leaves_one_set_of_rows(
    fresh_db: Database, name: str
) -> None:
    async with fresh_db.transaction() as session:
        project = await make_project(session, slug="lanternfall")
    data = (LOGS / name).read_bytes()
    results = await asyncio.gather(
        *(ingest_log(fresh_db, project_id=project.id, log_path="runs/1.json", data=data) for _ in range(4))
    )

    assert len({result.run_id for result in results}) == 1
    result = results[0]
    assert (await counts(fresh_db))[:4] == [1, result.jobs, result.candidates, result.assets_upserted]
    assert (await counts(fresh_db))[5] == result.quality_reports_written


async def test_runs_that_share_pictures_in_another_order_do_not_wait_for_each_other_for_ever(
    fresh_db: Database,
) -> None:
    async with fresh_db.transaction() as session:
        project = await make_project(session, slug="lanternfall")
    log = json.loads((LOGS / "g2_run_ok.json").read_bytes())
    forward = json.dumps(log).encode()
    backward = json.dumps(log | {"jobs": log["jobs"][::-1]}).encode()
    await asyncio.gather(
        *(
            ingest_log(fresh_db, project_id=project.id, log_path=f"runs/{n}.json", data=data)
            for n, data in enumerate((forward, backward) * 3)
        )
    )

    assert (await counts(fresh_db))[:4] == [6, 18, 36, 17]
