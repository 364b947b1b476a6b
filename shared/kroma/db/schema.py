"""Which schema a database has, and which one this version of Kroma needs."""

from functools import cache
from pathlib import Path
from typing import Final

from asyncpg import UndefinedTableError  # pyright: ignore[reportMissingTypeStubs] - it ships none
from sqlalchemy import Text, column, select, table

from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.errors import InfraError

_MIGRATIONS: Final = Path(__file__).parents[1] / "migrations" / "versions"
_FOUND: Final = Prepared(select(column("version_num", Text())).select_from(table("alembic_version")))
_RUN_MIGRATE: Final = "run migrate (kroma migrate, or python -m kroma.migrations.run upgrade)"


class WrongSchemaError(InfraError):
    """The database has another schema than this version needs."""

    retryable = False

    def __init__(self, found: str | None, needed: str) -> None:
        if found is None:
            problem = f"The database has no schema yet, this version needs {needed}: {_RUN_MIGRATE}"
        elif found > needed:
            problem = (
                f"The database's schema is at {found}, newer than the {needed} of this version: "
                "start the version that migrated it, or a later one"
            )
        else:
            problem = f"The database's schema is at {found}, this version needs {needed}: {_RUN_MIGRATE}"
        super().__init__(problem)


@cache
def needed_revision() -> str:
    """The newest migration there is; its file's name says it, so that nobody loads Alembic for it."""
    return max(file.name.partition("_")[0] for file in _MIGRATIONS.glob("[0-9]*_*.py"))


async def find_revision(db: Database) -> str | None:
    """The schema that the database has; None before its first migration."""
    async with db.reading() as reader:
        try:
            return await reader.value(_FOUND)
        except UndefinedTableError:
            return None


def check_revision(found: str | None) -> None:
    """Refuse a schema that this version does not work on.

    Raises:
        WrongSchemaError: It is older or newer, or there is none.
    """
    if found != needed_revision():
        raise WrongSchemaError(found, needed_revision())
