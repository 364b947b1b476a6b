"""Names that only one row may have: the database decides, so that no race slips through."""

from typing import Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.errors import ConflictError

# SQLSTATE of unique_violation, and of deadlock_detected: two rows that take each other's name wait for
# each other, and in any order both names are taken.
_TAKEN: Final = frozenset({"23505", "40P01"})


async def flush_unique(session: AsyncSession, *, taken: ConflictError) -> None:
    """Write what is pending; the transaction is lost when that is refused.

    Raises:
        ConflictError: ``taken``, when a unique constraint has another row of this name.
    """
    try:
        await session.flush()
    except DBAPIError as exc:
        if getattr(exc.orig, "sqlstate", None) in _TAKEN:
            raise taken from exc
        raise
