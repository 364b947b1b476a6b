import pytest

from kroma.pipeline.execution.answer_store import persistently
from kroma.storage.base import StoredObject
from kroma.storage.errors import StoreFullError, StoreUnavailableError
from support.doubles.memory_store import MemoryStore

pytestmark = pytest.mark.timeout(20)


class AwayStore(MemoryStore):
    """Fails with these errors, one a write, before it keeps anything."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__("memory")
        self.errors = list(errors)

    async def put(self, key: str, data: bytes, *, sha256: str | None = None) -> StoredObject:
        if self.errors:
            raise self.errors.pop(0)
        return await super().put(key, data, sha256=sha256)


async def test_what_was_paid_for_is_put_again_while_the_store_is_away() -> None:
    store = AwayStore(StoreUnavailableError("a.png", "away"))
    await persistently(store, "a.png", b"paid")
    assert await store.get("a.png", limit_bytes=10) == b"paid"


async def test_a_full_store_is_not_asked_again() -> None:
    store = AwayStore(StoreFullError("a.png"))
    with pytest.raises(StoreFullError):
        await persistently(store, "a.png", b"paid")
    assert await store.list_keys("") == []
    assert store.errors == []
