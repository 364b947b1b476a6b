"""The role that Kroma works as: the owner of its database, and nothing on the server beside it.

A superuser could read the server's files and run its programs, and so could a fault that lets a stranger's
SQL through. What needs one, which is making this role, is done by the server's own superuser, whose
password no service has.
"""

from datetime import timedelta
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - it ships none

from kroma.config import SettingsError
from kroma.db.role_sql import literal, role_statements
from kroma.db.wait_for_database import ANSWER_WITHIN_S, wait_for_answer

ADMIN_VARIABLE: Final = "KROMA_ADMIN_DATABASE_URL"


async def make_role(admin_url: str, *, url: str, wait: timedelta) -> None:
    """Make the role of Kroma's own address on a server, as its superuser.

    A server that was set up when both had the same password, Kroma's, is given the superuser's now.

    Args:
        admin_url: The superuser's address of Kroma's database.
        url: Kroma's own address, with its password.
        wait: How long to wait for the server to answer.

    Raises:
        SettingsError: The addresses name one user or no password, or the server refuses the superuser.
        DatabaseSilentError: It did not answer in time.
    """
    own, admin = urlsplit(url), urlsplit(admin_url)
    role, password = unquote(own.username or ""), unquote(own.password or "")
    if not role or not password or not admin.password:
        raise SettingsError(
            f"{ADMIN_VARIABLE} and KROMA_DATABASE_URL must both contain a user and a password"
        )
    if role == unquote(admin.username or ""):
        raise SettingsError(f"{ADMIN_VARIABLE} must name a different user than KROMA_DATABASE_URL")
    connection = await wait_for_answer(
        lambda: _open(admin_url, unquote(admin.password or ""), former_password=password),
        url=admin_url,
        limit=wait,
        variable=ADMIN_VARIABLE,
    )
    try:
        async with connection.transaction():
            for statement in role_statements(role, password):
                await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError as exc:
        raise SettingsError(f"{ADMIN_VARIABLE} must name a superuser") from exc
    finally:
        await connection.close()


async def _open(admin_url: str, password: str, *, former_password: str) -> Any:  # noqa: ANN401 - the driver has no types
    connect = cast("Any", asyncpg.connect)  # pyright: ignore[reportUnknownMemberType]
    try:
        return await connect(admin_url, timeout=ANSWER_WITHIN_S)
    except asyncpg.InvalidPasswordError as refused:
        try:
            connection = await connect(admin_url, password=former_password, timeout=ANSWER_WITHIN_S)
        except asyncpg.InvalidPasswordError:
            raise refused from None
    await connection.execute(f"ALTER ROLE CURRENT_USER PASSWORD {literal(password)}")
    return connection
