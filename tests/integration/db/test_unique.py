"""What becomes of a name that is taken."""

import asyncio

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from kroma.db.engine import Database
from kroma.db.unique import flush_unique
from kroma.errors import NameTakenError
from kroma.project_texts.models import Character
from support.builders.factories import make_project


async def add_two(db: Database) -> None:
    async with db.transaction() as session:
        project = await make_project(session)
        session.add_all(Character(project_id=project.id, name=name) for name in ("one", "two"))


@pytest.mark.timeout(60)
async def test_two_rows_that_take_each_others_name_both_find_it_taken(fresh_db: Database) -> None:
    await add_two(fresh_db)
    both_changed = asyncio.Barrier(2)

    async def rename(name: str, new_name: str) -> None:
        async with fresh_db.transaction() as session:
            row = (await session.scalars(select(Character).where(Character.name == name))).one()
            row.description = "changed, so that the other transaction waits for this one"
            await session.flush()
            await both_changed.wait()
            row.name = new_name
            await flush_unique(session, taken=NameTakenError("Character"))

    ends = await asyncio.gather(rename("one", "two"), rename("two", "one"), return_exceptions=True)

    assert [type(end) for end in ends] == [NameTakenError] * 2
    async with fresh_db.transaction() as session:
        assert set(await session.scalars(select(Character.name))) == {"one", "two"}


async def test_another_broken_constraint_is_not_a_taken_name(db: Database) -> None:
    async with db.transaction() as session:
        session.add(Character(name="one"))
        with pytest.raises(IntegrityError):
            await flush_unique(session, taken=NameTakenError("Character"))
        session.expunge_all()
        await session.rollback()
