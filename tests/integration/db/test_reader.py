"""Rows as the driver gives them, and the connections that readers keep at hand."""

from uuid import uuid4

import asyncpg
import msgspec
import pytest
from sqlalchemy import bindparam, func, select

from kroma.auth.models import ApiToken
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.db.reader import Query, RowMapper, equals
from kroma.projects.models import Project
from support.builders.factories import make_user

pytestmark = pytest.mark.timeout(60)

BY_SLUG = Query[Project].where(Project, equals(Project.slug))
BACKEND = Prepared(select(func.pg_backend_pid()))
SLEEP = Prepared(select(func.pg_sleep(bindparam("seconds"))))


async def backend(db: Database) -> int:
    async with db.reading() as reader:
        return await reader.value(BACKEND)


async def test_a_row_has_the_attributes_of_its_entity_and_its_json_as_it_is(db: Database) -> None:
    async with db.transaction() as session:
        user = await make_user(session, username="ada")
        project = Project(owner_user_id=user.id, slug="comic", name="Comic", settings_json={"a": [1, None]})
        session.add(project)

    async with db.reading() as reader:
        row = await BY_SLUG.first(reader, slug="comic")

    assert row is not None
    columns = [column.key for column in Project.__mapper__.column_attrs if column.key != "settings_json"]
    assert [getattr(row, key) for key in columns] == [getattr(project, key) for key in columns]
    assert msgspec.json.decode(row.settings_json) == {"a": [1, None]}


async def test_a_row_has_the_methods_of_its_entity(db: Database) -> None:
    async with db.transaction() as session:
        user = await make_user(session, username="ada")
        session.add(ApiToken(user_id=user.id, token_hash="x", token_prefix="kroma_", label="x"))

    async with db.reading() as reader:
        row = await Query[ApiToken].where(ApiToken, equals(ApiToken.user_id)).first(reader, user_id=user.id)

    assert row is not None
    assert row.is_active(now=utc_now())


async def test_a_column_that_was_left_out_is_missing(db: Database) -> None:
    async with db.transaction() as session:
        user = await make_user(session, username="ada")
        session.add(Project(owner_user_id=user.id, slug="comic", name="Comic"))
    rows = RowMapper(Project, without=[Project.description])

    async with db.reading() as reader:
        row = await Query(rows, rows.statement).first(reader)

    assert row is not None
    with pytest.raises(AttributeError):
        _ = row.description


async def test_nothing_is_found_where_nothing_is(db: Database) -> None:
    async with db.reading() as reader:
        assert await BY_SLUG.first(reader, slug=uuid4().hex) is None


async def test_readers_share_a_connection_one_after_the_other(fresh_db: Database) -> None:
    assert await backend(fresh_db) == await backend(fresh_db)


async def test_readers_at_the_same_time_have_connections_of_their_own(fresh_db: Database) -> None:
    async with fresh_db.reading() as one, fresh_db.reading() as other:
        assert await one.value(BACKEND) != await other.value(BACKEND)


async def test_a_kept_connection_whose_server_ended_it_is_replaced_unnoticed(
    fresh_db: Database, fresh_database_url: str
) -> None:
    first = await backend(fresh_db)
    killer = await asyncpg.connect(fresh_database_url)
    await killer.execute("SELECT pg_terminate_backend($1, 5000)", first)
    await killer.close()

    assert await backend(fresh_db) not in {0, first}


async def test_a_connection_that_was_kept_for_long_goes_back_to_the_pool(
    fresh_database_url: str,
) -> None:
    db = Database.connect(fresh_database_url, ping_after_s=-1.0)

    assert await backend(db) == await backend(db)
    await db.close()


async def test_more_readers_than_are_kept_leave_none_behind(fresh_db: Database) -> None:
    for _ in range(2):
        readers = [fresh_db.reading() for _ in range(12)]
        for reader in readers:
            await reader.__aenter__()
        for reader in readers:
            await reader.__aexit__(None, None, None)

    async with fresh_db.transaction() as session:
        assert await session.scalar(select(1)) == 1


async def test_a_statement_that_failed_leaves_its_connection_usable(fresh_db: Database) -> None:
    async with fresh_db.reading() as reader:
        with pytest.raises(asyncpg.DataError):
            await reader.value(SLEEP, seconds="x")

    assert await backend(fresh_db)
