"""The role that Kroma works as, made on a server of somebody else by its superuser."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import quote
from uuid import uuid4

import asyncpg
import pytest

from kroma.config import SettingsError
from kroma.db.app_role import make_role
from kroma.environment import Environment
from kroma.migrations.run import find_admin_url, migrate_when_it_answers

pytestmark = pytest.mark.timeout(120)

WAIT = timedelta(seconds=20)
PASSWORD = 'it\'s  a "pass\\word"'


async def said(url: str, statement: str, *values: object) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement, *values)
    finally:
        await connection.close()


@pytest.fixture
def names() -> tuple[str, str]:
    """Of a superuser and of Kroma's role; roles belong to the server, and other tests use it."""
    return f"admin_{uuid4().hex[:8]}", f"App's \"%s {uuid4().hex[:8]}"


@pytest.fixture
def admin_url(fresh_database_url: str, names: tuple[str, str]) -> Iterator[str]:
    admin, role = names
    asyncio.run(said(fresh_database_url, f"CREATE ROLE {admin} SUPERUSER LOGIN PASSWORD 'first'"))
    yield f"postgresql://{admin}:first@{fresh_database_url.rpartition('@')[2]}"

    async def removed() -> None:
        quoted = '"' + role.replace('"', '""') + '"'
        owner = fresh_database_url.partition("://")[2].partition(":")[0]
        given = await said(fresh_database_url, "SELECT count(*) FROM pg_roles WHERE rolname = $1", role)
        for name in (quoted, admin) if given else (admin,):
            await said(fresh_database_url, f"REASSIGN OWNED BY {name} TO {owner}")
            await said(fresh_database_url, f"DROP OWNED BY {name}")
            await said(fresh_database_url, f"DROP ROLE {name}")

    asyncio.run(removed())


@pytest.fixture
def url(fresh_database_url: str, names: tuple[str, str]) -> str:
    role = quote(names[1], safe="")
    return f"postgresql://{role}:{quote(PASSWORD, safe='')}@{fresh_database_url.rpartition('@')[2]}"


def test_the_role_owns_what_a_superuser_made_and_nothing_else(admin_url: str, url: str) -> None:
    migrate_when_it_answers(admin_url, wait=WAIT)
    migrate_when_it_answers(url, admin_url=admin_url, wait=WAIT)

    async def looked() -> None:
        foreign = """
            SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace
            AND pg_get_userbyid(relowner) <> current_user AND relkind IN ('r', 'S', 'v')"""
        assert await said(url, foreign) == 0
        assert await said(url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
        assert await said(url, "UPDATE projects SET name = name RETURNING id") is None
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await said(url, "COPY (SELECT 1) TO PROGRAM 'true'")

    asyncio.run(looked())
    migrate_when_it_answers(url, admin_url=admin_url, wait=WAIT)


async def test_a_superuser_that_had_the_role_s_password_gets_its_own(admin_url: str, url: str) -> None:
    literal = PASSWORD.replace("'", "''")
    await said(admin_url, f"ALTER ROLE CURRENT_USER PASSWORD '{literal}'")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await said(admin_url, "SELECT 1")

    await make_role(admin_url, url=url, wait=WAIT)

    assert await said(admin_url, "SELECT 1") == 1
    assert await said(url, "SELECT 2") == 2


async def test_a_wrong_superuser_is_named_by_its_variable(admin_url: str, url: str) -> None:
    await make_role(admin_url, url=url, wait=WAIT)
    for wrong, problem in (
        (admin_url.replace(":first@", ":other@"), "user or password that its server rejects"),
        (url, "a different user"),
        (admin_url.replace(":first@", "@"), "a user and a password"),
    ):
        with pytest.raises(SettingsError, match=f"^KROMA_ADMIN_DATABASE_URL .*{problem}") as caught:
            await make_role(wrong, url=url, wait=WAIT)
        assert "first" not in caught.value.message


def test_the_address_is_checked_and_its_password_may_come_from_a_file() -> None:
    given = {"KROMA_ADMIN_DATABASE_URL": "postgresql://a@db/k", "KROMA_ADMIN_DATABASE_PASSWORD": "x"}
    assert find_admin_url(Environment(given)) == "postgresql://a:x@db/k"
    assert find_admin_url(Environment({})) is None
    with pytest.raises(SettingsError, match=r"^KROMA_ADMIN_DATABASE_URL must start with postgresql://"):
        find_admin_url(Environment({"KROMA_ADMIN_DATABASE_URL": "mysql://x"}))
