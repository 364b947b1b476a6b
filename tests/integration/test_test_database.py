import pytest
import redis.asyncio
from sqlalchemy import text

from kroma.db.engine import Database

pytestmark = pytest.mark.timeout(60)


async def test_a_row_written_in_one_test_is_not_seen_by_the_next(db: Database) -> None:
    async with db.transaction() as session:
        before = await session.scalar(text("SELECT count(*) FROM app_users"))
        await session.execute(
            text("INSERT INTO audit_events (id, event_code) VALUES (gen_random_uuid(), 'x')")
        )
        assert await session.scalar(text("SELECT count(*) FROM audit_events")) == 1
    assert before is not None


async def test_a_second_test_starts_without_rows(db: Database) -> None:
    async with db.transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM audit_events")) == 0


async def test_a_fresh_database_serves_several_connections(fresh_db: Database) -> None:
    async with fresh_db.transaction() as one, fresh_db.transaction() as two:
        assert await one.scalar(text("SELECT pg_backend_pid()")) != await two.scalar(
            text("SELECT pg_backend_pid()")
        )


async def test_the_redis_database_is_empty(redis_url: str) -> None:
    client = redis.asyncio.Redis.from_url(redis_url)
    assert await client.dbsize() == 0
    await client.set("left", "over")
    await client.aclose()


async def test_the_redis_database_is_empty_again(redis_url: str) -> None:
    client = redis.asyncio.Redis.from_url(redis_url)
    assert await client.dbsize() == 0
    await client.set("left", "over")
    await client.aclose()
