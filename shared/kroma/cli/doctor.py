"""``kroma doctor``."""

import asyncio
from typing import TYPE_CHECKING

import typer

from kroma.cli.console import Exit, say_json, show_table
from kroma.cli.options import AsJson, DataDir
from kroma.config import Settings

if TYPE_CHECKING:
    from kroma.supervisor.checks import Check

_STYLES = {"ok": "green", "failed": "bold red", "not running": "yellow"}


def doctor(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Check every part of the installation, and say how to fix what fails."""
    from kroma.supervisor.checks import Verdict, examine

    settings = Settings.from_environment(data_dir=data_dir)
    checks = asyncio.run(examine(settings))
    ok = all(check.verdict is not Verdict.FAILED for check in checks)
    if as_json:
        say_json({"ok": ok, "checks": checks})
    else:
        _show(checks)
    raise typer.Exit(Exit.DONE if ok else Exit.FAILED)


def _show(checks: "list[Check]") -> None:
    show_table(
        (
            (check.part, (check.verdict, _STYLES[check.verdict]), check.found, check.advice)
            for check in checks
        ),
        headings=("part", "", "found", "what to do"),
    )
