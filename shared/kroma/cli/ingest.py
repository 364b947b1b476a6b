"""``kroma ingest``."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from kroma.cli.connections import database_url
from kroma.cli.console import say, say_json
from kroma.cli.options import AsJson, DataDir
from kroma.config import Settings


def ingest(
    file: Annotated[Path, typer.Argument(help="A run log written by Kroma or by the original tool.")],
    project: Annotated[
        str, typer.Option("--project", metavar="SLUG", help="The project; created if it does not exist.")
    ],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Import a run log; importing it again changes nothing."""
    settings = Settings.from_environment(data_dir=data_dir)
    asyncio.run(_ingest(settings, file, project, as_json=as_json))


async def _ingest(settings: Settings, file: Path, project: str, *, as_json: bool) -> None:
    from kroma.db.engine import Database
    from kroma.ingest.service import ingest_file
    from kroma.resources import open_stores

    db = Database.connect(database_url(settings), pool_size=1)
    try:
        async with open_stores(settings) as stores:
            result = await ingest_file(db, stores, slug=project, path=file, data_dir=settings.data_dir)
    finally:
        await db.close()
    if as_json:
        say_json(result)
        return
    say(
        f"Run {result.run_id} ({result.status}) of project {result.project_slug}: {result.jobs} jobs, "
        f"{result.candidates} candidates, {result.assets_upserted} assets, "
        f"{result.quality_reports_written} quality reports, {result.cost_events_written} cost events"
    )
