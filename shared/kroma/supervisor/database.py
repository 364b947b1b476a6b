"""What a database needs before the API starts: the current schema and, once, a token."""

import asyncio
from pathlib import Path
from typing import Final

from kroma.auth.service import count_active_tokens, create_token
from kroma.config import MasterKeyOptions
from kroma.db.connection_errors import DATABASE_TROUBLE
from kroma.db.engine import Database
from kroma.db.schema import find_revision as asked_revision
from kroma.db.schema import needed_revision
from kroma.db.wait_for_database import wrong_address
from kroma.migrations import run
from kroma.secrets.keyring import Keyring
from kroma.secrets.service import check_secrets_open
from kroma.supervisor.errors import DatabaseUnreachableError
from kroma.supervisor.state import write_private
from kroma.supervisor.token_file import token_path

MADE_BY: Final = "kroma up"


async def migrate(database_url: str) -> None:
    """Run the missing migrations.

    Raises:
        MigrationFailedError: The database does not answer, refuses, or is newer than this Kroma.
    """
    # A thread, because Alembic's environment runs an event loop of its own.
    await asyncio.to_thread(run.migrate, database_url)


async def check_secrets(database_url: str, options: MasterKeyOptions) -> None:
    """See that stored secrets open, as API and worker will: here a refusal reaches the person who starts.

    Raises:
        SettingsError: A key is wrong, or no secret opens.
    """
    keyring = Keyring(options)
    db = Database.connect(database_url, pool_size=1)
    try:
        await check_secrets_open(db, keyring)
    finally:
        await db.close()


async def make_first_token(database_url: str, data_dir: Path) -> str | None:
    """The secret of a new token, kept in ``token``; None when an active one exists already."""
    db = Database.connect(database_url, pool_size=1)
    try:
        async with db.transaction() as session:
            if await count_active_tokens(session):
                return None
            created = await create_token(session, label=MADE_BY)
            # Before the commit: a file without its row is replaced at the next start,
            # a row without its file would lock everybody out.
            write_private(token_path(data_dir), created.secret.encode() + b"\n")
            return created.secret
    finally:
        await db.close()


def newest_revision() -> str:
    """The schema that this Kroma needs."""
    return needed_revision()


async def find_revision(database_url: str) -> str | None:
    """The database's schema; None before the first migration.

    Raises:
        SettingsError: It refuses us.
        DatabaseUnreachableError: It does not answer.
    """
    db = Database.connect(database_url, pool_size=1)
    try:
        return await asked_revision(db)
    except DATABASE_TROUBLE as exc:
        raise (wrong_address(exc) or DatabaseUnreachableError(type(exc).__name__)) from exc
    finally:
        await db.close()
