"""``kroma migrate``."""

import os
from typing import Annotated

import typer

from kroma.cli.connections import database_url
from kroma.cli.console import log_stream, say, say_json
from kroma.cli.options import AsJson, DataDir
from kroma.config import LogOptions, Settings
from kroma.environment import Environment


def migrate(
    wait: Annotated[
        str,
        typer.Option("--wait", metavar="SECONDS", help="How long to wait for the database to answer."),
    ] = "60",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Migrate the database to the schema of this version.

    Uses KROMA_DATABASE_URL, or the database of the running stack. Concurrent migrations wait for each other.
    With KROMA_ADMIN_DATABASE_URL, a superuser's URL of the same database, it first creates Kroma's role.
    """
    from kroma.db.schema import needed_revision
    from kroma.logs import configure_logs
    from kroma.migrations.run import find_admin_url, migrate_when_it_answers, waiting_span

    settings = Settings.from_environment(data_dir=data_dir)
    configure_logs(LogOptions(level=settings.logs.level, format="console"), stream=log_stream())
    admin_url = find_admin_url(Environment(os.environ))
    found = migrate_when_it_answers(database_url(settings), admin_url=admin_url, wait=waiting_span(wait))
    needed = needed_revision()
    if as_json:
        say_json({"ok": True, "found": found, "schema": needed})
    elif found == needed:
        say(f"The schema is at {needed} already.")
    else:
        say(f"The schema is at {needed}; it was at {found or 'nothing'}.")
