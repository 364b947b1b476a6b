"""Which failures mean that the database went away."""

import pytest
from asyncpg import (
    ConnectionDoesNotExistError,
    InterfaceError,
    InternalClientError,
    UniqueViolationError,
)
from asyncpg.exceptions import CannotConnectNowError
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi

from kroma.db.connection_errors import DATABASE_TROUBLE, is_database_lost


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ConnectionRefusedError(111, "refused"), id="nobody-listens"),
        pytest.param(CannotConnectNowError("the database system is starting up"), id="starting"),
        pytest.param(ConnectionDoesNotExistError("closed"), id="closed-under-way"),
        pytest.param(InterfaceError("connection is closed"), id="closed-before"),
        pytest.param(
            InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
            id="idle-when-the-server-died",
        ),
    ],
)
def test_a_database_that_went_away_is_worth_another_try(error: Exception) -> None:
    assert is_database_lost(error)
    assert isinstance(error, DATABASE_TROUBLE)


def test_a_connection_that_the_pool_could_not_make_is_too() -> None:
    refused = CannotConnectNowError("the database system is not yet accepting connections")
    error = AsyncAdapt_asyncpg_dbapi.Error(str(refused), refused)
    error.__cause__ = refused

    assert is_database_lost(error)
    assert isinstance(error, DATABASE_TROUBLE)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(UniqueViolationError("duplicate key"), id="a-rule"),
        pytest.param(KeyError("x"), id="a-bug"),
    ],
)
def test_a_wrong_statement_is_not(error: Exception) -> None:
    assert not is_database_lost(error)
