"""Making, changing and deleting reference sets and their items (contract 3.16)."""

from msgspec import UnsetType

from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.db.unique import flush_unique
from kroma.errors import NothingGivenError
from kroma.projects.queries import get_project
from kroma.reference_sets.errors import ReferenceSetNameTakenError
from kroma.reference_sets.models import ReferenceSet, ReferenceSetItem
from kroma.reference_sets.queries import get_reference_item, get_reference_set
from kroma.texts import optional_text, require_any, required_name, required_text


async def create_reference_set(
    db: Database, *, slug: str, name: str | UnsetType, description: str | None = None
) -> ReferenceSet:
    """Add an empty set.

    Raises:
        FieldRequiredError: ``name`` is missing or blank.
        ProjectNotFoundError: No project has this slug.
        ReferenceSetNameTakenError: The project has a set of this name.
    """
    reference_set = ReferenceSet(name=required_name(name), description=optional_text(description))
    async with db.transaction() as session:
        reference_set.project_id = (await get_project(session, slug)).id
        session.add(reference_set)
        await flush_unique(session, taken=ReferenceSetNameTakenError())
    return reference_set


async def change_reference_set(
    db: Database,
    *,
    slug: str,
    reference_set_id: str,
    name: str | None = None,
    description: str | None = None,
) -> ReferenceSet:
    """Set the given fields; None keeps one, blank clears the description.

    Raises:
        NothingGivenError: No field is given.
        ReferenceSetNotFoundError: The project or the set is unknown.
        FieldRequiredError: A given ``name`` is blank.
        ReferenceSetNameTakenError: Another set has this name.
    """
    require_any(name=name, description=description)
    async with db.transaction() as session:
        reference_set = await get_reference_set(
            session, slug=slug, reference_set_id=reference_set_id, lock=True
        )
        if name is not None:
            reference_set.name = required_name(name)
        if description is not None:
            reference_set.description = optional_text(description)
        reference_set.updated_at = utc_now()
        await flush_unique(session, taken=ReferenceSetNameTakenError())
    return reference_set


async def delete_reference_set(db: Database, *, slug: str, reference_set_id: str) -> None:
    """Remove a set and its items for good.

    Raises:
        ReferenceSetNotFoundError: The project or the set is unknown.
    """
    async with db.transaction() as session:
        reference_set = await get_reference_set(
            session, slug=slug, reference_set_id=reference_set_id, lock=True
        )
        await session.delete(reference_set)


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
        db: Where the set is.
        slug: The project, as the path names it.
        reference_set_id: The set's id as sent.
        label: What the reference shows; labels may repeat.
        content_uri: Where it is, in any form; never opened here.
        content_text: What it says.
        sort_order: Its place in the set, smallest first; 0 unless given.
        metadata_json: Any JSON; ``{}`` unless given.

    Raises:
        FieldRequiredError: ``label`` is missing or blank.
        NothingGivenError: There is neither content.
        ReferenceSetNotFoundError: The project or the set is unknown.
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
        reference_set = await get_reference_set(
            session, slug=slug, reference_set_id=reference_set_id, lock=True
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
