"""Where a command finds the database: the environment's address, else the running stack's."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from kroma.config import Settings
from kroma.errors import InfraError
from kroma.supervisor.state import find_state

if TYPE_CHECKING:
    from kroma.db.engine import Database


class NotRunningError(InfraError):
    """A command needs the database and no stack runs on the data directory."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            f"Kroma is not running on {settings.data_dir}; start it with `kroma up` or set KROMA_DATABASE_URL"
        )


def database_url(settings: Settings) -> str:
    """The database's address.

    Raises:
        NotRunningError: None is set and nothing runs.
    """
    if settings.database_url is not None:
        return settings.database_url
    state = find_state(settings.data_dir)
    if state is None:
        raise NotRunningError(settings)
    return state.database_url


@asynccontextmanager
async def open_database(settings: Settings) -> "AsyncGenerator[Database]":
    """The database, for one command.

    Raises:
        NotRunningError: None is set and nothing runs.
        SettingsError: It refuses us.
        DatabaseUnreachableError: It does not answer.
        WrongSchemaError: It wants to be migrated.
    """
    import kroma.tables  # noqa: F401  # pyright: ignore[reportUnusedImport] - a write sorts its tables
    from kroma.db.connection_errors import DATABASE_TROUBLE
    from kroma.db.engine import Database
    from kroma.db.schema import check_revision, find_revision
    from kroma.db.wait_for_database import wrong_address
    from kroma.supervisor.errors import DatabaseUnreachableError

    db = Database.connect(database_url(settings), pool_size=1)
    try:
        try:
            check_revision(await find_revision(db))
        except DATABASE_TROUBLE as exc:
            if (wrong := wrong_address(exc)) is not None:
                raise wrong from exc
            raise
        yield db
    except DATABASE_TROUBLE as exc:
        raise DatabaseUnreachableError(type(exc).__name__) from exc
    finally:
        await db.close()
