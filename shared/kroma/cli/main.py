"""The command line: ``kroma COMMAND``."""

import sys

import typer

from kroma.cli import (
    calls,
    demo,
    doctor,
    ingest,
    inspect,
    migrate,
    picture_tools,
    rerun,
    secrets,
    sheet,
    sync,
    token,
    up,
)
from kroma.cli.console import Commands, Exit, complain, exit_code, tell_failure
from kroma.errors import KromaError

app = typer.Typer(
    name="kroma",
    help="Generate the pictures of a comic in one consistent style.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong use, 3 not found, 4 already running, 130 interrupted.",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    # Local variables hold passwords and tokens.
    pretty_exceptions_show_locals=False,
)
app.command("up")(up.up)
app.command("migrate")(migrate.migrate)
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)
app.command("ingest")(ingest.ingest)
app.command("sync")(sync.sync)
app.command("restore")(sync.restore)
app.command("verify")(sync.verify)
app.command("sheet")(sheet.sheet)
app.command("inspect")(inspect.inspect)
app.command("rerun")(rerun.rerun)
app.command("generate")(picture_tools.generate)
app.command("upscale")(picture_tools.upscale)
app.command("color")(picture_tools.color)
app.command("bgremove")(picture_tools.bgremove)
app.command("qa")(picture_tools.qa)
app.command("archive-bad")(picture_tools.archive_bad)
app.command("resolve-call")(calls.resolve_call)
app.add_typer(token.app, name="token")
app.add_typer(secrets.app, name="secrets")


def main() -> None:
    """Run a command; an error that we know is one line and an exit code, never a traceback."""
    try:
        app()
    except KromaError as exc:
        complain(f"kroma: {exc.message}")
        sys.exit(exit_code(exc))
    except Exception as exc:  # noqa: BLE001 - a fault of ours, told as Typer would, but visibly
        tell_failure(exc)
        sys.exit(Exit.FAILED)


if __name__ == "__main__":
    main()
