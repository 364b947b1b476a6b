"""Bodies of kept answers that are too large for a table: files in the installation's store."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from kroma.db.base import utc_now
from kroma.storage.base import ObjectStore, ProjectStores

FOLDER: Final = "idempotency"
SWEPT_AFTER: Final = timedelta(days=9)
"""A record lives for a week from when its request came, and a request may take a while."""
_SWEPT_AT_ONCE: Final = 500


def answer_files(stores: ProjectStores) -> ObjectStore:
    """Where they are; every process of an installation finds them."""
    return stores.open_own(FOLDER)


def new_name(record: UUID) -> str:
    """A file's name; it begins with the day, so that the sweep finds what no record names."""
    return f"{utc_now():%Y%m%d}_{record}"


async def sweep_files(store: ObjectStore) -> int:
    """Delete the files whose records are gone for certain.

    Returns:
        How many were deleted.
    """
    last = f"{datetime.now(UTC) - SWEPT_AFTER:%Y%m%d}"
    count = 0
    old: list[str] = []
    async for file in store.list_objects(""):
        if file.key.partition("_")[0] < last:
            old.append(file.key)
        if len(old) == _SWEPT_AT_ONCE:
            count += await _delete(store, old)
            old = []
    return count + await _delete(store, old)


async def _delete(store: ObjectStore, keys: Sequence[str]) -> int:
    await store.delete(keys)
    return len(keys)
