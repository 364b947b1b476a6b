"""What every command says, and how it ends."""

from enum import IntEnum

from rich.console import Console
from rich.text import Text

from kroma.errors import InvalidRequestError, KromaError, NotFoundError
from kroma.supervisor.errors import AlreadyRunningError


class Exit(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    WRONG_USE = 2
    """An option, argument or variable; Typer ends with the same number."""
    NOT_FOUND = 3
    ALREADY_RUNNING = 4
    INTERRUPTED = 130


console = Console(highlight=False)
errors = Console(highlight=False, stderr=True)


def say(line: str) -> None:
    """Print one line as it is: no markup, no wrapping, so that it can be copied."""
    console.print(Text(line), soft_wrap=True)


def complain(line: str) -> None:
    """One line on standard error."""
    errors.print(Text(line), soft_wrap=True)


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
