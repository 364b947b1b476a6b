"""``kroma sheet``."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import typer

from kroma.cli.connections import opened_database
from kroma.cli.console import say
from kroma.cli.options import DataDir
from kroma.config import Settings


def sheet(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Ids of finished runs; later ones go on in the same rows."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write it here as well, and print this path.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Draw the contact sheet of runs: each scene, its candidates, their scores, the winner and its end."""
    settings = Settings.from_environment(data_dir=data_dir)
    say(str(asyncio.run(draw(settings, runs, out=out))))


async def draw(settings: Settings, runs: Sequence[str], *, out: Path | None = None) -> Path:
    """Draw the sheet of runs.

    Returns:
        The file that was written.
    """
    from kroma.runs.sheet import draw_run_sheet
    from kroma.storage.directory import DirectoryStores

    stores = DirectoryStores(settings.data_dir, allow_any_root=settings.allow_any_root)
    async with opened_database(settings) as db:
        drawn = await draw_run_sheet(db, stores, runs)
    if out is None:
        return Path(unquote(urlsplit(drawn.uri).path))
    await asyncio.to_thread(out.write_bytes, drawn.data)
    return await asyncio.to_thread(out.absolute)
