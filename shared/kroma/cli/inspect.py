"""``kroma inspect``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from kroma.cli.console import Cell, Exit, complain, exit_code, say_json, show_table
from kroma.cli.options import AsJson
from kroma.errors import KromaError

if TYPE_CHECKING:
    from kroma.tools.inspection import Inspection

_STATES = {
    "unchanged": ("unchanged since it was made", "green"),
    "picture_changed": ("changed: the pixels are not the ones that were made", "bold red"),
    "record_changed": ("changed: the record is not the one that was written", "bold red"),
}


def inspect(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Pictures.")],
    as_json: AsJson = False,
) -> None:
    """Show how a picture was made, and whether it was changed since.

    Exit codes: 0 all unchanged, 1 one was changed or cannot be read, 3 one has no record.
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
        say_json(shown[0] if len(files) == 1 else shown)
    raise typer.Exit(code)


def _show(inspection: "Inspection") -> None:
    record: dict[str, Any] = msgspec.to_builtins(inspection.record)
    parents = record.pop("parents", [])
    for name in ("version", "body_sha256", "record_sha256"):
        record.pop(name, None)
    size = f"{inspection.width}x{inspection.height} px, " if inspection.width else ""
    rows: list[tuple[Cell, Cell]] = [
        ("file", inspection.file),
        ("", f"{inspection.mime_type or 'no picture'}, {size}{inspection.size_bytes} bytes"),
        ("state", _STATES[inspection.state]),
    ]
    if inspection.is_whole is not None:
        rows.append(("", f"{'to' if inspection.is_whole else 'not to'} the byte the file that was written"))
    rows.append(("record", f"in the {'picture' if inspection.source == 'picture' else 'file beside it'}"))
    for name, value in record.items():
        text = value if isinstance(value, str | int) else msgspec.json.encode(value).decode()
        rows.append((name.replace("_", " "), str(text)))
    rows += [(parent["role"], f"{parent['path']}  sha256 {parent['sha256']}") for parent in parents]
    show_table(rows, first_style="bold")
