"""``kroma inspect``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from kroma.cli.console import Exit, complain, console, exit_code, say
from kroma.cli.options import AsJson
from kroma.errors import KromaError

if TYPE_CHECKING:
    from kroma.tools.inspection import Inspection

_STATES = {
    "unchanged": "[green]unchanged since it was made[/]",
    "picture_changed": "[bold red]changed: the pixels are not the ones that were made[/]",
    "record_changed": "[bold red]changed: the record is not the one that was written[/]",
}


def inspect(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Pictures.")],
    as_json: AsJson = False,
) -> None:
    """Show how a picture was made, as it says itself, and whether it was changed since.

    Ends with 0 when all are unchanged, 1 when one was changed or cannot be read, 3 when one says nothing.
    """
    from kroma.tools.inspection import inspected_file

    code, shown = Exit.DONE, list[dict[str, Any]]()
    for file in files:
        try:
            inspection = inspected_file(file)
        except KromaError as exc:
            code = max(code, Exit.NOT_FOUND if exit_code(exc) is Exit.NOT_FOUND else Exit.FAILED)
            shown.append({"ok": False, "file": str(file), "error": exc.message, "error_code": exc.code})
            if not as_json:
                complain(f"kroma: {exc.message}")
            continue
        if not inspection.is_unchanged:
            code = max(code, Exit.FAILED)
        shown.append({"ok": inspection.is_unchanged, **msgspec.to_builtins(inspection)})
        if not as_json:
            _show(inspection)
    if as_json:
        say(msgspec.json.encode(shown[0] if len(files) == 1 else shown).decode())
    raise typer.Exit(code)


def _show(inspection: "Inspection") -> None:
    record: dict[str, Any] = msgspec.to_builtins(inspection.record)
    parents = record.pop("parents", [])
    for name in ("version", "body_sha256", "record_sha256"):
        record.pop(name, None)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("file", escape(inspection.file))
    size = f"{inspection.width}x{inspection.height} px, " if inspection.width else ""
    table.add_row("", f"{inspection.mime_type or 'no picture'}, {size}{inspection.size_bytes} bytes")
    table.add_row("state", _STATES[inspection.state])
    if inspection.is_whole is not None:
        table.add_row("", f"{'to' if inspection.is_whole else 'not to'} the byte the file that was written")
    table.add_row("record", f"in the {'picture' if inspection.source == 'picture' else 'file beside it'}")
    for name, value in record.items():
        text = value if isinstance(value, str | int) else msgspec.json.encode(value).decode()
        table.add_row(name.replace("_", " "), escape(str(text)))
    for parent in parents:
        table.add_row(escape(parent["role"]), f"{escape(parent['path'])}  sha256 {parent['sha256']}")
    console.print(table)
