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
from kroma.db.waiting import ANSWER_WITHIN_S, answered

ADMIN_VARIABLE: Final = "KROMA_ADMIN_DATABASE_URL"
_FOREIGN: Final = """
    SELECT format('ALTER SCHEMA %I OWNER TO {role}', nspname) FROM pg_namespace
    WHERE nspname !~ '^(pg_|information_schema$)' AND nspowner NOT IN ({oid}, 'pg_database_owner'::regrole)
    UNION ALL
    SELECT format('ALTER %s %s OWNER TO {role}',
        CASE relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
            ELSE 'TABLE' END, c.oid::regclass)
    FROM pg_class c WHERE relkind IN ('r', 'p', 'v', 'm', 'S') AND relowner <> {oid}
        AND relnamespace::regnamespace::text !~ '^(pg_|information_schema$)'
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = c.oid AND deptype IN ('a', 'i', 'e'))
    UNION ALL
    SELECT format('ALTER ROUTINE %s OWNER TO {role}', p.oid::regprocedure) FROM pg_proc p
    WHERE proowner <> {oid} AND pronamespace::regnamespace::text !~ '^(pg_|information_schema$)'
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')
    UNION ALL
    SELECT format('ALTER %s %s OWNER TO {role}', CASE typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END,
        t.oid::regtype)
    FROM pg_type t WHERE typtype IN ('e', 'd', 'r') AND typowner <> {oid}
        AND typnamespace::regnamespace::text !~ '^(pg_|information_schema$)'
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = t.oid AND deptype = 'e')
"""
"""A statement for everything in the database that is somebody else's; what belongs to a table follows it."""
_NEXT: Final = "-- next"
_MAKING: Final = f"""
    DO $do$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {{text}}) THEN CREATE ROLE {{name}}; END IF;
    END $do$;
    {_NEXT}
    ALTER ROLE {{name}} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
        PASSWORD {{password}};
    {_NEXT}
    DO $do$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO %I', current_database(), {{text}}); END $do$;
    {_NEXT}
    DO $do$ DECLARE said text; BEGIN FOR said IN {{foreign}} LOOP EXECUTE said; END LOOP; END $do$;
"""


def role_statements(role: str, password: str) -> tuple[str, ...]:
    """What a superuser says in Kroma's database to make the role, new or not, its ordinary owner.

    Each is one line, since the server's single-user mode takes one statement a line. All may be said again.
    """
    name, text = _identifier(role), _literal(role)
    in_format = name.replace("'", "''").replace("%", "%%")
    foreign = _one_line(_FOREIGN).format(role=in_format, oid=f"{_literal(name)}::regrole")
    given = {"name": name, "text": text, "password": _literal(password), "foreign": foreign}
    return tuple(_one_line(statement).format_map(given) for statement in _MAKING.split(_NEXT))


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
            ADMIN_VARIABLE, "is set: it and KROMA_DATABASE_URL must name a user and a password"
        )
    if role == unquote(admin.username or ""):
        raise SettingsError(ADMIN_VARIABLE, "must name another user than KROMA_DATABASE_URL")
    connection = await answered(
        lambda: _opened(admin_url, unquote(admin.password or ""), former_password=password),
        url=admin_url,
        limit=wait,
        variable=ADMIN_VARIABLE,
    )
    try:
        async with connection.transaction():
            for statement in role_statements(role, password):
                await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError as exc:
        raise SettingsError(ADMIN_VARIABLE, "must name a superuser") from exc
    finally:
        await connection.close()


async def _opened(admin_url: str, password: str, *, former_password: str) -> Any:  # noqa: ANN401 - the driver has no types
    connect = cast("Any", asyncpg.connect)  # pyright: ignore[reportUnknownMemberType]
    try:
        return await connect(admin_url, timeout=ANSWER_WITHIN_S)
    except asyncpg.InvalidPasswordError as refused:
        try:
            connection = await connect(admin_url, password=former_password, timeout=ANSWER_WITHIN_S)
        except asyncpg.InvalidPasswordError:
            raise refused from None
    await connection.execute(f"ALTER ROLE CURRENT_USER PASSWORD {_literal(password)}")
    return connection


def _one_line(sql: str) -> str:
    return " ".join(sql.split())


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
