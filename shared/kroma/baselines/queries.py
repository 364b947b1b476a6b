"""Reading baselines."""

from uuid import UUID

from sqlalchemy import bindparam

from kroma.baselines.models import Baseline
from kroma.db.engine import Database
from kroma.db.keyset import EVERYTHING, Listing, Page, Window, descending
from kroma.db.reader import Query, Reader

_IS_CURRENT = Baseline.replaced_at.is_(None)
_ORDER = descending(Baseline.locked_at), descending(Baseline.id)
_HISTORY = Listing(Baseline, *_ORDER, of=Baseline.project_id)
_LISTED = Listing(
    Baseline,
    *_ORDER,
    of=Baseline.project_id,
    filters={"is_current": Baseline.replaced_at.is_(None) == bindparam("is_current")},
)
_CURRENT = Query[Baseline].where(Baseline, Baseline.project_id == bindparam("project_id"), _IS_CURRENT)


async def list_baselines(
    reader: Reader, project_id: UUID, *, with_history: bool = False, window: Window = EVERYTHING
) -> Page[Baseline]:
    """The baselines of a project, last locked first.

    Args:
        with_history: Those, too, whose place a later lock took.
    """
    if with_history:
        return await _HISTORY.page(reader, window, of=project_id)
    return await _LISTED.page(reader, window, of=project_id, is_current=True)


async def current_baselines(db: Database, project_id: UUID) -> list[Baseline]:
    """The one baseline of each scene that has some, in no order."""
    async with db.reading() as reader:
        return await _CURRENT.all(reader, project_id=project_id)
