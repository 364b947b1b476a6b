"""A project that holds one of everything, for tests that go over all routes."""

from typing import Any, NamedTuple

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from kroma.assets.models import Asset
from kroma.db.engine import Database
from kroma.exports.models import ProjectExport
from kroma.ledger.models import CallStatus, ProviderCall
from kroma.projects.queries import get_project
from kroma.runs.models import Run, RunJob
from kroma.sync.models import SyncJob


class Filled(NamedTuple):
    """A database with two filled projects, and a value for every parameter in a path of the first.

    The second has the slug ``other``.
    """

    engine: AsyncEngine
    known: dict[str, str]


async def fill_project(client: httpx.AsyncClient, db: Database, name: str = "Filled") -> dict[str, str]:
    """Make it over HTTP where that goes; gives a known value for every parameter in a path."""

    async def post(path: str, key: str, **body: Any) -> Any:
        response = await client.post(path, json=body)
        assert response.status_code == 200, response.text
        return response.json()[key]

    slug = (await post("/api/projects", "project", name=name))["slug"]
    at = f"/api/projects/{slug}"
    async with db.transaction() as session:
        project = await get_project(session, slug)
        parent, child = (
            Asset(project_id=project.id, kind="input", storage_uri=path, rel_path=path)
            for path in ("a.png", "b.png")
        )
        run = Run(project_id=project.id, run_mode="dry", stage="style", status="ok")
        export = ProjectExport(project_id=project.id, status="completed", export_format="zip")
        session.add_all([parent, child, run, export])
        await session.flush()
        job = RunJob(run_id=run.id, ordinal=0, job_key="style_1_a")
        session.add(job)
        await session.flush()
        call = ProviderCall(
            project_id=project.id,
            run_id=run.id,
            job_id=job.id,
            job_key=job.job_key,
            candidate_index=1,
            number=1,
            fence=1,
            provider_code="openai",
            model_name="gpt-image-1",
            operation="image_edit",
            status=CallStatus.UNKNOWN,
        )
        sync = SyncJob(project_id=project.id, status="done", project_root="/p", destination="s3://b/p/")
        session.add_all([call, sync])
    reference_set = await post(f"{at}/reference-sets", "reference_set", name="R")
    link = await post(
        f"{at}/asset-links", "asset_link", parent_asset_id=str(parent.id), child_asset_id=str(child.id)
    )
    item = await post(f"{at}/reference-sets/{reference_set['id']}/items", "item", label="L", content_text="x")
    await post(f"{at}/provider-accounts", "provider_account", provider_code="openai")
    await post(f"{at}/secrets", "secret", provider_code="openai", secret_name="api_key", secret_value="x")
    imported = await post(
        f"{at}/bootstrap-import", "import_id", settings={"characters": [{"name": "Imported"}]}
    )
    style = {"name": "S", "instructions": "x"}
    return {
        "slug": slug,
        "token_id": (await post("/auth/token", "auth_token"))["id"],
        "run_id": str(run.id),
        "job_id": str(job.id),
        "asset_id": str(parent.id),
        "link_id": link["id"],
        "export_id": str(export.id),
        "template_id": (await post(f"{at}/prompt-templates", "prompt_template", name="T", template_text="x"))[
            "id"
        ],
        "provider_code": "openai",
        "secret_name": "api_key",
        "import_id": str(imported),
        "style_guide_id": (await post(f"{at}/style-guides", "style_guide", **style))["id"],
        "character_id": (await post(f"{at}/characters", "character", name="C"))["id"],
        "reference_set_id": reference_set["id"],
        "item_id": item["id"],
        "session_id": (await post(f"{at}/chat/sessions", "session"))["id"],
        "call_id": str(call.id),
        "sync_id": str(sync.id),
        "tool": "qa",
        "instruction_id": (await post(f"{at}/agent/instructions", "instruction", instruction_text="x"))["id"],
    }
