"""``kroma doctor``."""

import asyncio
from typing import TYPE_CHECKING

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from kroma.cli.console import Exit, console, say
from kroma.cli.options import AsJson, DataDir
from kroma.config import Settings

if TYPE_CHECKING:
    from kroma.supervisor.checks import Check

_STYLES = {"ok": "green", "failed": "bold red", "not running": "yellow"}


def doctor(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Check each part and say what to do about each that fails."""
    from kroma.supervisor.checks import Verdict, examine

    settings = Settings.from_environment(data_dir=data_dir)
    checks = asyncio.run(examine(settings))
    ok = all(check.verdict is not Verdict.FAILED for check in checks)
    if as_json:
        say(msgspec.json.encode({"ok": ok, "checks": checks}).decode())
    else:
        _show(checks)
    raise typer.Exit(Exit.DONE if ok else Exit.FAILED)


def _show(checks: "list[Check]") -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("part", "", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        table.add_row(
            check.part,
            f"[{_STYLES[check.verdict]}]{check.verdict}[/]",
            escape(check.found),
            escape(check.advice),
        )
    console.print(table)
