"""Reading reference sets and their items."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.ids import row_id
from kroma.db.keyset import EVERYTHING, Listing, Page, Window, ascending, descending
from kroma.db.reader import Reader
from kroma.projects.contents import get_in_project, last_changed_first
from kroma.reference_sets.errors import ReferenceSetItemNotFoundError, ReferenceSetNotFoundError
from kroma.reference_sets.models import ReferenceSet, ReferenceSetItem

_SETS = last_changed_first(ReferenceSet)
_ITEMS = Listing(
    ReferenceSetItem,
    ascending(ReferenceSetItem.sort_order),
    descending(ReferenceSetItem.updated_at),
    descending(ReferenceSetItem.id),
    of=ReferenceSetItem.reference_set_id,
)


async def list_reference_sets(
    reader: Reader, project_id: UUID, *, window: Window = EVERYTHING
) -> Page[ReferenceSet]:
    """The reference sets of a project, last changed first."""
    return await _SETS.page(reader, window, of=project_id)


async def get_reference_set(
    source: AsyncSession | Reader, *, slug: str, reference_set_id: str, lock: bool = False
) -> ReferenceSet:
    """A project's reference set.

    Raises:
        ReferenceSetNotFoundError: The project or the set is unknown.
    """
    return await get_in_project(
        source,
        ReferenceSet,
        slug=slug,
        identifier=reference_set_id,
        missing=ReferenceSetNotFoundError(),
        lock=lock,
    )


async def list_reference_items(
    reader: Reader, set_id: UUID, *, window: Window = EVERYTHING
) -> Page[ReferenceSetItem]:
    """The items of a set in their order; of equal ones the last changed first."""
    return await _ITEMS.page(reader, window, of=set_id)


async def get_reference_item(
    source: AsyncSession | Reader, *, slug: str, reference_set_id: str, item_id: str, lock: bool = False
) -> ReferenceSetItem:
    """An item of a project's reference set.

    Raises:
        ReferenceSetItemNotFoundError: The project, the set or the item is unknown.
    """
    set_key = row_id(reference_set_id)
    if set_key is None:
        raise ReferenceSetItemNotFoundError
    return await get_in_project(
        source,
        ReferenceSetItem,
        slug=slug,
        identifier=item_id,
        missing=ReferenceSetItemNotFoundError(),
        lock=lock,
        reference_set_id=set_key,
    )
