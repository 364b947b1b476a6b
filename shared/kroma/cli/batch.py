"""Many pictures, one after the other or a few at a time: progress, a summary, and one bad file stops none."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from kroma.cli.connections import NotRunningError, database_url
from kroma.cli.console import Exit, bars, complain, say, say_json
from kroma.config import Settings
from kroma.errors import KromaError

if TYPE_CHECKING:
    from kroma.db.engine import Database
    from kroma.tools.files import Item
    from kroma.tools.runner import ToolRunner


class Outcome(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What became of one input."""

    input: str
    ok: bool = msgspec.field(default_factory=lambda: True)
    outputs: list[str] = []
    results: list[dict[str, Any]] = []
    """What the tool says of each output, or of the input."""
    error: str = ""
    error_code: str = ""


@asynccontextmanager
async def open_tool_runner(settings: Settings, *, with_ledger: bool) -> "AsyncGenerator[ToolRunner]":
    """The tools, for one command.

    Args:
        with_ledger: Whether calls may cost money; without a database that answers none is made.
    """
    from kroma.cpu import CpuPool
    from kroma.postprocess.toolbox import Toolbox
    from kroma.tools.runner import ToolRunner

    cpu = CpuPool(settings.cpu_processes)
    toolbox = Toolbox(cpu, settings.tools, url_allow=settings.url_allow)
    db = _ledger(settings) if with_ledger else None
    try:
        yield ToolRunner(settings=settings, cpu=cpu, toolbox=toolbox, db=db)
    finally:
        await toolbox.close()
        await cpu.close()
        if db is not None:
            await db.close()


def _ledger(settings: Settings) -> "Database | None":
    from kroma.db.engine import Database

    try:
        return Database.connect(database_url(settings), pool_size=2)
    except NotRunningError:
        return None


async def run_all(
    items: "Sequence[Item]",
    work: "Callable[[Item], Awaitable[Outcome]]",
    *,
    label: str,
    at_once: int,
) -> list[Outcome]:
    """Work on every item, a few at a time; what fails is noted and the others go on.

    Returns:
        One outcome per item, in their order.
    """
    slots = asyncio.Semaphore(at_once)
    done = 0
    with bars() as shown:
        bar = shown.add(label, total=len(items))

        async def one(item: "Item") -> Outcome:
            nonlocal done
            async with slots:
                try:
                    outcome = await work(item)
                except KromaError as exc:
                    outcome = Outcome(input=str(item.path), ok=False, error=exc.message, error_code=exc.code)
            done += 1
            shown.show(bar, done=done, told=f"{done} of {len(items)}")
            return outcome

        return await asyncio.gather(*(one(item) for item in items))


def finished(
    tool: str, outcomes: list[Outcome], *, as_json: bool, more: dict[str, Any] | None = None
) -> None:
    """Say what became of everything, and end: with 0 when all went well, else with 1.

    Raises:
        typer.Exit: Always.
    """
    failed = [outcome for outcome in outcomes if not outcome.ok]
    if as_json:
        summary = {"total": len(outcomes), "failed": len(failed)}
        told = {"ok": not failed, "tool": tool, "summary": summary, **(more or {}), "files": outcomes}
        say_json(told)
    else:
        for outcome in outcomes:
            for output in outcome.outputs:
                say(output)
        for outcome in failed:
            complain(f"kroma: {outcome.input}: {outcome.error}")
        done = len(outcomes) - len(failed)
        complain(f"{tool}: {done} of {len(outcomes)} done" + (f", {len(failed)} failed" if failed else ""))
    raise typer.Exit(Exit.FAILED if failed else Exit.DONE)


def sources(paths: Sequence[Path]) -> list[Any]:
    """The files that are given beside the inputs, read.

    Raises:
        UnwritableError: One cannot be read.
        PictureTooLargeError: One is over 64 MiB.
    """
    from kroma.tools.files import read_picture
    from kroma.tools.runner import Source

    return [Source(path.name, read_picture(path)) for path in paths]
