"""Every example of a body in the document is one that the API takes."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from sqlalchemy import update

from kroma.assets.models import Asset
from kroma.config import Settings
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.instructions.models import AgentInstruction
from kroma.instructions.signature import CALLBACK_PATH, Pass, callback_signer
from kroma.projects.models import ProjectStorage
from kroma.projects.queries import get_project
from kroma.runs.models import Run, RunJob
from kroma_api.app import routes
from kroma_api.route_facts import documented_routes
from support.builders.ended_runs import ended_run
from support.builders.factories import scene_png
from support.builders.populated_project import Filled
from support.harness.documented_api import api_document
from support.servers.databases import rolled_back

pytestmark = pytest.mark.timeout(60)

HOUR = timedelta(hours=1)
WITH_BODY = [
    pytest.param(method, path, operation["requestBody"]["content"]["application/json"], id=f"{method} {path}")
    for path, item in api_document()["paths"].items()
    for method, operation in item.items()
    if "application/json" in operation.get("requestBody", {}).get("content", {})
]


@pytest.fixture
async def db(filled: Filled) -> AsyncIterator[Database]:
    async with rolled_back(filled.engine) as database:
        yield database


@pytest.fixture
async def address(db: Database, filled: Filled, data_dir: Path) -> str:
    """The query that a callback needs, in a project that has what the examples speak of."""
    for seed, name in enumerate(("scenes/harbor.png", "styles/ink.png")):
        picture = data_dir / "var" / "projects" / filled.known["slug"] / name
        picture.parent.mkdir(parents=True)
        picture.write_bytes(scene_png(seed=seed))
    linked = documented_routes(routes())["POST", "/api/projects/{slug}/asset-links"].example
    assert linked is not None
    sending = Pass(instruction_id=UUID(filled.known["instruction_id"]), attempt=1, fence=1)
    async with db.transaction() as session:
        project = await get_project(session, filled.known["slug"])
        await session.execute(
            update(ProjectStorage)
            .where(ProjectStorage.project_id == project.id)
            .values(s3_enabled=True, s3_bucket="studio")
        )
        session.add_all(
            Asset(
                id=UUID(linked[field]), project_id=project.id, kind="input", storage_uri=field, rel_path=field
            )
            for field in ("parent_asset_id", "child_asset_id")
        )
    signer = callback_signer(Settings.from_environment({}, data_dir=data_dir))
    return f"sig={signer.signature(sending, valid_until=utc_now() + HOUR)}"


async def failed_run(client: httpx.AsyncClient, db: Database, slug: str) -> str:
    """A run that a worker failed."""
    body = {"mode": "run", "confirm_spend": True, "scene_refs": ["scenes/harbor.png"]}
    reply = await client.post(f"/api/projects/{slug}/runs/trigger", json=body)
    run_id: str = reply.json()["run"]["id"]
    async with db.transaction() as session:
        for status in ("running", "failed"):
            await session.execute(update(RunJob).where(RunJob.run_id == UUID(run_id)).values(status=status))
            await session.execute(update(Run).where(Run.id == UUID(run_id)).values(status=status))
    return run_id


@pytest.mark.parametrize(("method", "path", "body"), WITH_BODY)
async def test_the_example_of_a_body_is_accepted(
    *,
    client: httpx.AsyncClient,
    db: Database,
    filled: Filled,
    address: str,
    data_dir: Path,
    method: str,
    path: str,
    body: dict[str, object],
) -> None:
    query = ""
    if path.startswith(CALLBACK_PATH):
        query = f"?{address}"
        async with db.transaction() as session:
            await session.execute(
                update(AgentInstruction)
                .where(AgentInstruction.id == UUID(filled.known["instruction_id"]))
                .values(status="running", attempt=1, fence=1, deadline_at=utc_now() + HOUR)
            )

    known = filled.known
    if path.endswith(("/select", "/lock-baseline")):
        made = await ended_run(
            client,
            db,
            known["slug"],
            data_dir / "var" / "projects" / known["slug"],
            scene="scenes/harbor.png",
        )
        known = known | {"run_id": made.run_id, "job_id": made.job_id}
    if path.endswith(("/retry", "/rerun")):
        known = known | {"run_id": await failed_run(client, db, known["slug"])}

    response = await client.request(method, path.format_map(known) + query, json=body["example"])

    assert response.status_code in {200, 202}, response.text
