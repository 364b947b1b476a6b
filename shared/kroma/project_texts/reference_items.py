"""The items of reference sets (contract 3.16)."""

from uuid import UUID

from msgspec import UnsetType
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.db.ids import row_id
from kroma.db.keyset import EVERYTHING, Listing, Page, Window, ascending, descending
from kroma.db.reader import Reader
from kroma.errors import NotFoundError, NothingGivenError
from kroma.project_texts.models import ReferenceSet, ReferenceSetItem
from kroma.project_texts.queries import get_text
from kroma.projects.contents import get_in_project
from kroma.texts import optional_text, require_any, required_text

_ITEMS = Listing(
    ReferenceSetItem,
    ascending(ReferenceSetItem.sort_order),
    descending(ReferenceSetItem.updated_at),
    descending(ReferenceSetItem.id),
    of=ReferenceSetItem.reference_set_id,
)


class ReferenceSetItemNotFoundError(NotFoundError):
    """The set has no such item, or does not exist itself."""

    text = "Reference set item not found"


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


async def create_reference_item(
    db: Database,
    *,
    slug: str,
    reference_set_id: str,
    label: str | UnsetType,
    content_uri: str | None = None,
    content_text: str | None = None,
    sort_order: int | None = None,
    metadata_json: object = None,
) -> ReferenceSetItem:
    """Add an item to a set, whose own stamp stays.

    Args:
        reference_set_id: The set's id as sent.
        label: What the reference shows; labels may repeat.
        content_uri: Where it is, in any form; never opened here.
        content_text: What it says.
        sort_order: Its place in the set, smallest first; 0 unless given.
        metadata_json: Any JSON; ``{}`` unless given.

    Raises:
        FieldRequiredError: ``label`` is missing or blank.
        NothingGivenError: There is neither content.
        NotFoundError: The project or the set is unknown.
    """
    item = ReferenceSetItem(
        label=required_text("label", label),
        content_uri=optional_text(content_uri),
        content_text=optional_text(content_text),
        sort_order=sort_order or 0,
        metadata_json={} if metadata_json is None else metadata_json,
    )
    _require_content(item)
    async with db.transaction() as session:
        # Locked, so that the set is not deleted before its new item is committed.
        reference_set = await get_text(
            session, ReferenceSet, slug=slug, identifier=reference_set_id, lock=True
        )
        item.project_id = reference_set.project_id
        item.reference_set_id = reference_set.id
        session.add(item)
    return item


async def change_reference_item(
    db: Database,
    *,
    slug: str,
    reference_set_id: str,
    item_id: str,
    label: str | None = None,
    content_uri: str | None = None,
    content_text: str | None = None,
    sort_order: int | None = None,
    metadata_json: object = None,
) -> ReferenceSetItem:
    """Set the given fields; None keeps one, a blank content is cleared. The set's own stamp stays.

    Raises:
        NothingGivenError: No field is given, or no content would be left.
        ReferenceSetItemNotFoundError: The project, the set or the item is unknown.
        FieldRequiredError: A given ``label`` is blank.
    """
    require_any(
        label=label,
        content_uri=content_uri,
        content_text=content_text,
        sort_order=sort_order,
        metadata_json=metadata_json,
    )
    async with db.transaction() as session:
        item = await get_reference_item(
            session, slug=slug, reference_set_id=reference_set_id, item_id=item_id, lock=True
        )
        if label is not None:
            item.label = required_text("label", label)
        if content_uri is not None:
            item.content_uri = optional_text(content_uri)
        if content_text is not None:
            item.content_text = optional_text(content_text)
        _require_content(item)
        if sort_order is not None:
            item.sort_order = sort_order
        if metadata_json is not None:
            item.metadata_json = metadata_json
        item.updated_at = utc_now()
    return item


async def delete_reference_item(db: Database, *, slug: str, reference_set_id: str, item_id: str) -> None:
    """Remove an item for good; the set's own stamp stays.

    Raises:
        ReferenceSetItemNotFoundError: The project, the set or the item is unknown.
    """
    async with db.transaction() as session:
        item = await get_reference_item(
            session, slug=slug, reference_set_id=reference_set_id, item_id=item_id, lock=True
        )
        await session.delete(item)


def _require_content(item: ReferenceSetItem) -> None:
    if item.content_uri is None and item.content_text is None:
        raise NothingGivenError("content_uri", "content_text")
