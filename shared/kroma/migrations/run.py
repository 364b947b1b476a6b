"""Bring a database to the current schema, or say how far it is from it."""

import os
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory


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


def main() -> None:
    """``python -m kroma.migrations.run upgrade | check | new TEXT`` on ``KROMA_DATABASE_URL``."""
    url = os.environ["KROMA_DATABASE_URL"]
    match sys.argv[1:]:
        case ["upgrade"]:
            upgrade(url)
        case ["check"]:
            command.check(config(url))
        case ["new", message]:
            command.revision(config(url), message, autogenerate=True)
        case _:
            sys.exit("usage: python -m kroma.migrations.run upgrade | check | new TEXT")


if __name__ == "__main__":
    main()
