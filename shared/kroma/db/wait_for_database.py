"""Waiting for a database that does not answer yet."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from ssl import SSLCertVerificationError
from time import monotonic
from typing import Final, TypeVar

import structlog
from asyncpg import (  # pyright: ignore[reportMissingTypeStubs] - it ships none
    ClientConfigurationError,
    InterfaceError,
    InvalidAuthorizationSpecificationError,
    InvalidCatalogNameError,
    PostgresError,
)
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError

from kroma.config import SettingsError
from kroma.db.connection_errors import DATABASE_TROUBLE, is_database_lost
from kroma.errors import InfraError
from kroma.retries import retry

T = TypeVar("T")

log = structlog.get_logger(__name__)

MAX_WAIT: Final = timedelta(seconds=10)
"""With a server that refuses the user or has no such database: it may be about to make them."""
SAY_EVERY_S: Final = 10.0
ANSWER_WITHIN_S: Final = 5.0
"""One try, from the name's resolution to the answer."""
_PARAMETERS: Final = (
    "sslmode (disable, allow, prefer, require, verify-ca, "
    "verify-full), the files named by sslrootcert, sslcert and sslkey, and target_session_attrs"
)


class DatabaseSilentError(InfraError):
    """The database did not answer in the time there was."""

    def __init__(self, variable: str, address: str, reason: str, waited: timedelta) -> None:
        super().__init__(
            f"{variable}: the database {address} did not answer within "
            f"{waited.total_seconds():g} s ({reason})"
        )


class _NotYetError(Exception):
    """It may answer later."""


def shown_address(url: str) -> str:
    """``host:port/name`` of a database's address, without user and password."""
    return re.split(r"[?#]", url.partition("://")[2], maxsplit=1)[0].rpartition("@")[2]


async def wait_for_answer(
    ask: Callable[[], Awaitable[T]],
    *,
    url: str,
    limit: timedelta | None = None,
    max_wait: timedelta = MAX_WAIT,
    variable: str = "KROMA_DATABASE_URL",
) -> T:
    """What a database answers, asked again with longer pauses until it does.

    Args:
        ask: Asks it; called again after every failure of connection or server.
        url: Its address, for what is said meanwhile.
        limit: When to give up; None never does.
        max_wait: How long to wait for a server that refuses us.
        variable: Where the address comes from.

    Raises:
        SettingsError: The server does not know the user, the password or the database, or refuses us for
            another reason; its certificate is not accepted, or the address has a parameter that is not valid.
        DatabaseSilentError: The limit was reached.
    """
    began, said_at = monotonic(), -SAY_EVERY_S

    @retry(on=_NotYetError, attempts=None, timeout=None, wait_max=2, wait_jitter=0)
    async def ask_again() -> T:
        nonlocal said_at
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await ask()
        except DATABASE_TROUBLE as exc:
            error = exc
        waited = timedelta(seconds=monotonic() - began)
        refusal = _refusal(variable, error)
        if refusal is None and (mistake := _mistake(variable, error)) is not None:
            raise SettingsError(mistake) from error
        if refusal is not None and waited >= max_wait:
            raise SettingsError(refusal) from error
        if refusal is None and not _may_pass(error):
            raise error
        if limit is not None and waited >= limit:
            raise DatabaseSilentError(variable, shown_address(url), _reason(error), limit) from error
        if waited.total_seconds() - said_at >= SAY_EVERY_S:
            said_at = waited.total_seconds()
            log.warning("database.waiting", address=shown_address(url), reason=_reason(error))
        raise _NotYetError from error

    found = await ask_again()
    if said_at >= 0:
        log.info("database.answers", waited_s=round(monotonic() - began, 1))
    return found


def wrong_address(error: Exception) -> SettingsError | None:
    """The error for a database URL that cannot work; None if waiting may help."""
    variable = "KROMA_DATABASE_URL"
    problem = _refusal(variable, error) or _mistake(variable, error)
    return None if problem is None else SettingsError(problem)


def _mistake(variable: str, error: Exception) -> str | None:
    """What no waiting mends."""
    match _root(error):
        case ClientConfigurationError():
            return f"{variable} has a parameter that the driver rejects; check {_PARAMETERS}"
        case SSLCertVerificationError(verify_message=reason):
            return f"{variable} requires a verified server, and its certificate is not accepted: {reason}"
        case PostgresError() as said if not is_database_lost(error):
            # The first line only: the others quote statements.
            return f"{variable} names a database that rejects connections: {str(said).splitlines()[0]}"
        case _:
            return None


def _refusal(variable: str, error: BaseException) -> str | None:
    match _root(error):
        case InvalidCatalogNameError():
            return f"{variable} names a database that does not exist on its server"
        case InvalidAuthorizationSpecificationError():
            return f"{variable} has a user or password that its server rejects"
        case _:
            return None


def _may_pass(error: Exception) -> bool:
    return isinstance(error, OSError | TimeoutError | InterfaceError) or is_database_lost(error)


def _reason(error: BaseException) -> str:
    # Not its text: a driver's may quote what it was given.
    return type(_root(error)).__name__


def _root(error: BaseException) -> BaseException:
    """The driver's own error."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return _root(error.orig)
    if isinstance(error, AsyncAdapt_asyncpg_dbapi.Error) and error.__cause__ is not None:
        return _root(error.__cause__)
    return error
