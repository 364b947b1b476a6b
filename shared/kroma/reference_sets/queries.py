"""Reading reference sets and their items."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.ids import row_id
from kroma.db.keyset import EVERYTHING, ListOrder, Page, Window, ascending, descending
from kroma.projects.contents import get_in_project, list_last_changed
from kroma.reference_sets.errors import ReferenceSetItemNotFoundError, ReferenceSetNotFoundError
from kroma.reference_sets.models import ReferenceSet, ReferenceSetItem

_ITEMS = ListOrder(
    "ReferenceSetItem",
    ascending(ReferenceSetItem.sort_order),
    descending(ReferenceSetItem.updated_at),
    descending(ReferenceSetItem.id),
)


async def list_reference_sets(
    session: AsyncSession, project_id: UUID, *, window: Window = EVERYTHING
) -> Page[ReferenceSet]:
    """The reference sets of a project, last changed first."""
    return await list_last_changed(session, ReferenceSet, project_id, window=window)


async def get_reference_set(
    session: AsyncSession, *, slug: str, reference_set_id: str, lock: bool = False
) -> ReferenceSet:
    """A project's reference set.

    Raises:
        ReferenceSetNotFoundError: The project or the set is unknown.
    """
    return await get_in_project(
        session,
        ReferenceSet,
        slug=slug,
        identifier=reference_set_id,
        missing=ReferenceSetNotFoundError(),
        lock=lock,
    )


async def list_reference_items(
    session: AsyncSession, set_id: UUID, *, window: Window = EVERYTHING
) -> Page[ReferenceSetItem]:
    """The items of a set in their order; of equal ones the last changed first."""
    statement = select(ReferenceSetItem).where(ReferenceSetItem.reference_set_id == set_id)
    return await _ITEMS.page(session, statement, window, scope=set_id)


async def get_reference_item(
    session: AsyncSession, *, slug: str, reference_set_id: str, item_id: str, lock: bool = False
) -> ReferenceSetItem:
    """An item of a project's reference set.

    Raises:
        ReferenceSetItemNotFoundError: The project, the set or the item is unknown.
    """
    set_key = row_id(reference_set_id)
    if set_key is None:
        raise ReferenceSetItemNotFoundError
    return await get_in_project(
        session,
        ReferenceSetItem,
        ReferenceSetItem.reference_set_id == set_key,
        slug=slug,
        identifier=item_id,
        missing=ReferenceSetItemNotFoundError(),
        lock=lock,
    )
