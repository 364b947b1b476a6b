"""``kroma sheet``."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import typer

from kroma.cli.connections import open_database
from kroma.cli.console import say
from kroma.cli.options import DataDir
from kroma.config import Settings


def sheet(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...", help="IDs of finished runs; runs that continue earlier ones share their rows."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write the sheet to this file, and print its path.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Draw a contact sheet of runs: scenes, candidates, scores and winners."""
    settings = Settings.from_environment(data_dir=data_dir)
    say(asyncio.run(draw(settings, runs, out=out)))


async def draw(settings: Settings, runs: Sequence[str], *, out: Path | None = None) -> str:
    """Draw the sheet of runs.

    Returns:
        The file that was written, or the address of the object.
    """
    from kroma.resources import open_stores
    from kroma.runs.contact_sheet import draw_run_sheet

    async with open_stores(settings) as stores, open_database(settings) as db:
        drawn = await draw_run_sheet(db, stores, runs)
    if out is None:
        address = urlsplit(drawn.uri)
        return unquote(address.path) if address.scheme == "file" else drawn.uri
    await asyncio.to_thread(out.write_bytes, drawn.data)
    return str(await asyncio.to_thread(out.absolute))
