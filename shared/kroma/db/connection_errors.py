"""Telling a database that went away from a statement that was wrong."""

from typing import Final

from asyncpg import (  # pyright: ignore[reportMissingTypeStubs] - it ships none
    InterfaceError,
    InternalClientError,
    OperatorInterventionError,
    PostgresConnectionError,
    PostgresError,
    TooManyConnectionsError,
)
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError

DATABASE_TROUBLE: Final = (
    DBAPIError,
    AsyncAdapt_asyncpg_dbapi.Error,  # what DBAPIError wraps; taking a connection for a reader raises it bare
    PostgresError,
    InterfaceError,
    # A connection that was idle when its server died: it has read the farewell and takes nothing more.
    InternalClientError,
    OSError,
    TimeoutError,
)
"""Whatever a statement may raise, by the session or by the driver alone."""


def is_database_lost(error: Exception) -> bool:
    """Whether the server stopped, restarts, or the connection to it broke: the same may work later."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or (
            isinstance(error.orig, Exception) and is_database_lost(error.orig.__cause__ or error.orig)  # pyright: ignore[reportArgumentType]
        )
    if isinstance(error, AsyncAdapt_asyncpg_dbapi.Error):
        return isinstance(error.__cause__, Exception) and is_database_lost(error.__cause__)
    if isinstance(error, InterfaceError):
        return not isinstance(error, ValueError)  # that is asyncpg's word for a parameter of a wrong type
    lost = (
        ConnectionError,
        TimeoutError,
        InternalClientError,
        PostgresConnectionError,
        OperatorInterventionError,
    )
    return isinstance(error, (*lost, TooManyConnectionsError))
