"""``kroma rerun``."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from kroma.cli.connections import NotRunningError, database_url
from kroma.cli.console import say, say_json
from kroma.cli.options import AsJson, DataDir
from kroma.config import Settings

if TYPE_CHECKING:
    from kroma.imaging.provenance import PictureRecord
    from kroma.runs.models import Run


class _Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What to make otherwise; None keeps it."""

    candidates: int | None
    seed: int | None
    provider: str | None = None
    model: str | None = None
    size: str | None = None
    quality: str | None = None
    stage: str | None = None
    time: str | None = None
    weather: str | None = None


def rerun(
    *,
    file: Annotated[Path, typer.Argument(help="A picture made by a run.")],
    candidates: Annotated[int | None, typer.Option(min=1, max=6, help="Number of candidates.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Use another seed.")] = None,
    confirm_spend: Annotated[
        bool, typer.Option("--confirm-spend", help="Confirm that calls may cost money.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run the job that made a picture again; candidates that still exist cost nothing."""
    from kroma.tools.inspection import inspected_file

    record = inspected_file(file).record
    settings = Settings.from_environment(data_dir=data_dir)
    changes = _Changes(candidates=candidates, seed=seed)
    run, slug = asyncio.run(_rerun(settings, str(file), record, changes, confirm_spend=confirm_spend))
    if as_json:
        shown: dict[str, Any] = {
            "ok": True,
            "run_id": str(run.id),
            "origin_run_id": str(run.origin_run_id),
            "project": slug,
            "status": run.status,
            "estimated_usd": None if run.estimated_usd is None else float(run.estimated_usd),
        }
        say_json(shown)
        return
    say(f"Run {run.id} of project {slug} is queued; `kroma sheet {run.id}` shows it when it has ended")


async def _rerun(
    settings: Settings,
    name: str,
    record: "PictureRecord",
    changes: _Changes,
    *,
    confirm_spend: bool,
) -> "tuple[Run, str]":
    from kroma.auth.caller import OWNER
    from kroma.pipeline.control.derived_run import Spending
    from kroma.pipeline.control.rerun import rerun_run
    from kroma.projects.errors import ProjectNotFoundError
    from kroma.projects.models import Project
    from kroma.resources import await_database, open_resources
    from kroma.supervisor.state import find_state
    from kroma.tools.errors import NotOfARunError

    if record.project_id is None or record.run_id is None or record.job_id is None:
        raise NotOfARunError(name)
    state = find_state(settings.data_dir)
    redis_url = settings.redis_url or (state.redis_url if state else None)
    if redis_url is None and settings.queue != "postgres":
        raise NotRunningError(settings)
    opened = msgspec.structs.replace(settings, database_url=database_url(settings), redis_url=redis_url)
    async with open_resources(opened) as resources:
        await await_database(resources)
        async with resources.db.transaction() as session:
            project = await session.get(Project, record.project_id)
        if project is None:
            raise ProjectNotFoundError
        run = await rerun_run(
            resources.db,
            resources.queue,
            resources.stores,
            opened,
            slug=project.slug,
            run_id=str(record.run_id),
            job_id=str(record.job_id),
            changes=changes,
            is_confined=False,
            spending=Spending(
                providers=resources.providers, is_confirmed=confirm_spend, caller=OWNER, idempotency_id=None
            ),
        )
    return run, project.slug
