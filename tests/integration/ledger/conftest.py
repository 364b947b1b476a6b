"""A database of its own, since a worker and its successor are two connections."""

import pytest

from kroma.db.engine import Database
from support.harness.ledger_harness import Counter


@pytest.fixture
async def counter(fresh_db: Database) -> Counter:
    return await Counter.opened(fresh_db)
