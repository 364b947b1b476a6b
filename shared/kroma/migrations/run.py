"""Bring a database to the current schema, or say how far it is from it."""

import argparse
import asyncio
import os
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from kroma.addresses import check_database_url
from kroma.config import SettingsError
from kroma.db.app_role import ADMIN_VARIABLE, make_role
from kroma.db.connection_errors import DATABASE_TROUBLE
from kroma.db.engine import Database
from kroma.db.schema import WrongSchemaError, find_revision, needed_revision
from kroma.db.wait_for_database import wait_for_answer
from kroma.environment import Environment, span
from kroma.errors import InfraError, KromaError
from kroma.logs import configure_logs
from kroma.terminal import refuse

WAIT: Final = timedelta(seconds=60)
"""For a database that does not answer yet."""
_EXIT_FAILED: Final = 1
_EXIT_WRONG_SETTINGS: Final = 2


class MigrationFailedError(InfraError):
    """The database is not of the current schema and could not be brought there."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The database could not be migrated: {reason}")


def config(database_url: str) -> Config:
    """Alembic's configuration, without an ini file."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent))
    settings.set_main_option("path_separator", "os")
    settings.attributes["database_url"] = database_url
    return settings


def upgrade(database_url: str, revision: str = "head") -> None:
    """Migrate up to ``revision``; blocking, and it runs an event loop of its own."""
    command.upgrade(config(database_url), revision)


def downgrade(database_url: str, revision: str) -> None:
    """Migrate down to ``revision``."""
    command.downgrade(config(database_url), revision)


def head() -> str:
    """The newest revision there is."""
    return ScriptDirectory.from_config(config("")).get_current_head() or ""


def migrate(database_url: str) -> None:
    """Run the missing migrations; of several migrators one works and the others wait for it.

    Raises:
        MigrationFailedError: The database does not answer, refuses, or is newer than this Kroma.
    """
    try:
        upgrade(database_url)
    except (CommandError, SQLAlchemyError, *DATABASE_TROUBLE) as exc:
        # The first line only: the others quote statements.
        raise MigrationFailedError(str(exc).partition("\n")[0]) from exc


def migrate_when_it_answers(
    database_url: str, *, admin_url: str | None = None, wait: timedelta = WAIT
) -> str | None:
    """Wait for a database and migrate it.

    Args:
        database_url: Its address.
        admin_url: A superuser's, who makes the role of the first before.
        wait: How long.

    Returns:
        The schema that it had; None when it had none.

    Raises:
        SettingsError: The server refuses the user, or has no such database.
        DatabaseSilentError: It did not answer in time.
        WrongSchemaError: It is newer than this Kroma.
        MigrationFailedError: A migration failed; the database is as it was.
    """
    if admin_url is not None:
        asyncio.run(make_role(admin_url, url=database_url, wait=wait))
    found = asyncio.run(_find(database_url, wait))
    if found is not None and found > needed_revision():
        raise WrongSchemaError(found, needed_revision())
    migrate(database_url)
    return found


def find_admin_url(env: Environment) -> str | None:
    """``KROMA_ADMIN_DATABASE_URL``, which only a migration reads: services have no use for a superuser.

    Raises:
        SettingsError: It is no address of a PostgreSQL.
    """
    url = env.server_url("ADMIN_DATABASE")
    if url is not None:
        check_database_url(ADMIN_VARIABLE, url)
    return url


def waiting_span(text: str) -> timedelta:
    """How long ``--wait`` says.

    Raises:
        SettingsError: The text is no number of seconds.
    """
    return span("--wait", text, minimum=0, example=WAIT.total_seconds())


async def _find(database_url: str, wait: timedelta) -> str | None:
    db = Database.connect(database_url, pool_size=1)
    try:
        return await wait_for_answer(partial(find_revision, db), url=database_url, limit=wait)
    finally:
        await db.close()


def main() -> None:
    """``python -m kroma.migrations.run upgrade | check | new TEXT`` on ``KROMA_DATABASE_URL``."""
    parser = argparse.ArgumentParser(prog="python -m kroma.migrations.run")
    actions = parser.add_subparsers(dest="action", required=True)
    upgrading = actions.add_parser("upgrade", help="bring the database to the current schema")
    upgrading.add_argument("--wait", default=f"{WAIT.total_seconds():g}", metavar="SECONDS")
    actions.add_parser("check", help="compare the database with the models")
    actions.add_parser("new", help="write a migration").add_argument("text")
    given = parser.parse_args()
    configure_logs()
    try:
        env = Environment(os.environ)
        url = env.server_url("DATABASE")
        if url is None:
            raise SettingsError("KROMA_DATABASE_URL is not set")
        match given.action:
            case "upgrade":
                migrate_when_it_answers(url, admin_url=find_admin_url(env), wait=waiting_span(given.wait))
            case "check":
                command.check(config(url))
            case _:
                command.revision(config(url), given.text, autogenerate=True)
    except KromaError as exc:
        refuse("kroma.migrations", exc.message)
        sys.exit(_EXIT_WRONG_SETTINGS if isinstance(exc, SettingsError) else _EXIT_FAILED)


if __name__ == "__main__":
    main()
