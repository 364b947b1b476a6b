"""Telling a database that went away from a statement that was wrong."""

from asyncpg import (  # pyright: ignore[reportMissingTypeStubs] - it ships none
    InterfaceError,
    OperatorInterventionError,
    PostgresConnectionError,
    TooManyConnectionsError,
)
from sqlalchemy.exc import DBAPIError


def is_database_lost(error: Exception) -> bool:
    """Whether the server stopped, restarts, or the connection to it broke: the same may work later."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or (
            isinstance(error.orig, Exception) and is_database_lost(error.orig.__cause__ or error.orig)  # pyright: ignore[reportArgumentType]
        )
    if isinstance(error, InterfaceError):
        return not isinstance(error, ValueError)  # that is asyncpg's word for a parameter of a wrong type
    lost = (ConnectionError, TimeoutError, PostgresConnectionError, OperatorInterventionError)
    return isinstance(error, (*lost, TooManyConnectionsError))
