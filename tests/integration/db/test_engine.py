"""Connections that died while they were pooled, and statements on the driver alone."""

from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import bindparam, func, insert, select, text

from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.projects.models import AppUser
from support.builders.factories import make_user

pytestmark = pytest.mark.timeout(60)

NAME_OF = Prepared(select(AppUser.display_name).where(AppUser.username == bindparam("username")))
ADD = Prepared(
    insert(AppUser).values(
        id=bindparam("id"), username=bindparam("username"), display_name=bindparam("username")
    )
)


def new_user() -> dict[str, object]:
    now = utc_now()
    return {"id": uuid4(), "username": "ada", "is_active": True, "created_at": now, "updated_at": now}


async def backend(db: Database) -> int:
    async with db.transaction() as session:
        return await session.scalar(select(func.pg_backend_pid())) or 0


async def test_a_connection_whose_server_ended_it_is_replaced_unnoticed(
    fresh_db: Database, fresh_database_url: str
) -> None:
    first = await backend(fresh_db)
    killer = await asyncpg.connect(fresh_database_url)
    await killer.execute("SELECT pg_terminate_backend($1, 5000)", first)
    await killer.close()

    second = await backend(fresh_db)

    assert second not in {0, first}


async def test_a_connection_is_used_again_while_it_lives(fresh_db: Database) -> None:
    assert await backend(fresh_db) == await backend(fresh_db)


async def test_a_connection_that_was_idle_for_long_is_asked_and_kept(
    fresh_database_url: str,
) -> None:
    db = Database.connect(fresh_database_url, ping_after_s=-1.0)

    assert await backend(db) == await backend(db)
    await db.close()


async def test_a_statement_on_the_driver_reads_what_a_session_wrote(fresh_db: Database) -> None:
    async with fresh_db.transaction() as session:
        user = await make_user(session, username="ada")

    rows = await fresh_db.fetch(NAME_OF, {"username": "ada"})

    assert [row["display_name"] for row in rows] == [user.display_name]


async def test_a_statement_on_the_driver_is_a_transaction_of_its_own(fresh_db: Database) -> None:
    await fresh_db.fetch(ADD, new_user())
    with pytest.raises(asyncpg.UniqueViolationError):
        await fresh_db.fetch(ADD, new_user())

    async with fresh_db.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(AppUser)) == 1
        assert await session.scalar(text("SELECT 1")) == 1


async def test_a_joined_database_takes_statements_on_the_driver_too(db: Database) -> None:
    await db.fetch(ADD, new_user())

    assert len(await db.fetch(NAME_OF, {"username": "ada"})) == 1
