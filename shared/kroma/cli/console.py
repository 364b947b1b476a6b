"""What every command says, and how it ends. Nothing else of the command line writes to a terminal."""

import sys
import traceback
from collections.abc import Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from enum import IntEnum
from typing import Any, Final, TextIO, cast

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text
from typer import Abort, BadParameter
from typer.core import TyperGroup

from kroma.errors import InvalidRequestError, KromaError, NotFoundError
from kroma.supervisor.errors import AlreadyRunningError
from kroma.terminal import json_text, visible

WrongUseError: Final = cast("type[Exception]", BadParameter.__mro__[2])
"""Typer's own errors of options and arguments."""

Bar = TaskID
Cell = str | tuple[str, str]
"""A text, or one with its style."""


class Exit(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    WRONG_USE = 2
    """An option, argument or variable; Typer ends with the same number."""
    NOT_FOUND = 3
    ALREADY_RUNNING = 4
    INTERRUPTED = 130


_console: Final = Console(highlight=False)
_errors: Final = Console(highlight=False, stderr=True)


def say(line: str) -> None:
    """Print one line: no markup, no wrapping, so that it can be copied; control characters are shown."""
    _console.print(Text(visible(line)), soft_wrap=True)


def say_json(value: object) -> None:
    """Print a value as one line of JSON."""
    _console.print(Text(json_text(value)), soft_wrap=True)


def complain(line: str) -> None:
    """One line on standard error."""
    _errors.print(Text(visible(line)), soft_wrap=True)


def log_stream() -> TextIO:
    """Where a command's log lines go, which `kroma.logs` makes visible itself."""
    return sys.stderr


def show_table(
    rows: Iterable[Sequence[Cell] | None],
    *,
    headings: Sequence[str] = (),
    first_style: str | None = None,
    title: str | None = None,
) -> None:
    """Print a table.

    Args:
        rows: One cell for each column; None is a line between two rows.
        headings: None are shown where there are none.
        first_style: Of the first column.
        title: Above it, then with lines around its cells.
    """
    plain: dict[str, Any] = {"box": None, "pad_edge": False} if title is None else {"title_justify": "left"}
    table = Table(show_header=bool(headings), title=title, **plain)
    found = list(rows)
    width = max((len(row) for row in found if row is not None), default=len(headings))
    for number in range(width):
        heading = headings[number] if headings else ""
        table.add_column(heading, overflow="fold", style=first_style if number == 0 else None)
    for row in found:
        if row is None:
            table.add_section()
        else:
            table.add_row(*map(_cell, row))
    _console.print(table)


def _cell(cell: Cell) -> Text:
    text, style = (cell, "") if isinstance(cell, str) else cell
    return Text(visible(text), style=style)


def busy(what: str) -> AbstractContextManager[Any]:
    """A spinner beside a text while something is done."""
    return _console.status(Text(visible(what)))


class Bars:
    """Bars of progress, each with a text before and one behind it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def add(self, label: str, *, total: float | None = None) -> Bar:
        return self._progress.add_task(_plain(label), total=total, told="")

    def show(
        self, bar: Bar, *, done: float, total: float | None = None, label: str | None = None, told: str = ""
    ) -> None:
        changed: dict[str, Any] = {} if label is None else {"description": _plain(label)}
        if total is not None:
            changed["total"] = total
        self._progress.update(bar, completed=done, told=_plain(told), **changed)


@contextmanager
def bars(*, stays: bool = False) -> Generator[Bars]:
    """Bars on standard error, where somebody looks; ``stays`` prints them like lines, on standard output."""
    columns: tuple[ProgressColumn, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
    )
    target = _console if stays else _errors
    is_off = not stays and not _errors.is_terminal
    with Progress(*columns, console=target, disable=is_off, transient=not stays) as progress:
        yield Bars(progress)


def _plain(text: str) -> str:
    # Columns are templates of markup.
    return escape(visible(text))


def size_text(size_bytes: int) -> str:
    """A size for eyes, like ``1.5 MB``."""
    return decimal(size_bytes)


class Commands(TyperGroup):
    """The commands, whose wrong use is told as everything else is: Typer would quote it as it came."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:  # noqa: ANN401 - Typer's own
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **extra)
        try:
            code = super().main(*args, standalone_mode=False, **extra)
        except WrongUseError as exc:
            _tell_wrong_use(exc)
            sys.exit(Exit.WRONG_USE)
        except Abort:
            complain("kroma: aborted")
            sys.exit(Exit.FAILED)
        sys.exit(code if isinstance(code, int) else Exit.DONE)


def _tell_wrong_use(wrong: Any) -> None:  # noqa: ANN401 - Typer does not name their class
    context = wrong.ctx
    problem: str = wrong.format_message()
    if context is not None and type(wrong).__name__ == "NoArgsIsHelpError":
        return  # Typer showed the help when it made the error
    if context is not None:
        complain(context.get_usage())
        complain(f"Try '{context.command_path} --help' for help.")
    complain(f"kroma: {problem}")


def tell_failure(error: BaseException) -> None:
    """A fault of ours, with where it happened; local variables may hold passwords, so there are none."""
    for part in traceback.format_exception(error):
        for line in part.splitlines():
            complain(line)


def exit_code(error: KromaError) -> Exit:
    """How a command ends that this error ended."""
    match error:
        case AlreadyRunningError():
            return Exit.ALREADY_RUNNING
        case NotFoundError():
            return Exit.NOT_FOUND
        case InvalidRequestError():
            return Exit.WRONG_USE
        case _:
            return Exit.FAILED
