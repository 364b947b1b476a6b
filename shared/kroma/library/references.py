"""Uploaded pictures as items of a reference set."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.assets.models import Asset
from kroma.db.engine import Database
from kroma.library.project_files import ProjectFiles
from kroma.project_texts.models import ReferenceSet, ReferenceSetItem
from kroma.project_texts.queries import get_text

_LAST_POSITION: Final = 2**31 - 1
"""What the column holds; items at the same place are ordered by their ids."""


async def check_set(db: Database, slug: str, reference_set_id: str | None) -> None:
    """See that the set is there before anything is stored.

    Raises:
        ReferenceSetNotFoundError: The project has no such set.
    """
    if reference_set_id is not None:
        async with db.reading() as reader:
            await get_text(reader, ReferenceSet, slug=slug, identifier=reference_set_id)


async def add_items(
    session: AsyncSession,
    files: ProjectFiles,
    reference_set_id: str | None,
    pictures: Sequence[tuple[Asset, str]],
) -> dict[UUID, UUID]:
    """Put pictures with their names behind the items of a set; what stands in it already is not added again.

    Returns:
        The item of each asset, by the asset's id.

    Raises:
        ReferenceSetNotFoundError: The project has no such set.
    """
    if reference_set_id is None:
        return {}
    owner = await get_text(session, ReferenceSet, slug=files.slug, identifier=reference_set_id, lock=True)
    statement = select(ReferenceSetItem).where(ReferenceSetItem.reference_set_id == owner.id)
    present = list(
        await session.scalars(statement.order_by(ReferenceSetItem.sort_order, ReferenceSetItem.id))
    )
    by_address = {item.content_uri: item.id for item in reversed(present)}
    position = max((item.sort_order for item in present), default=-1)
    items: dict[UUID, UUID] = {}
    for asset, name in pictures:
        found = items.get(asset.id) or by_address.get(str(asset.id)) or by_address.get(asset.rel_path)
        if found is None:
            position = min(position + 1, _LAST_POSITION)
            found = uuid4()
            item = ReferenceSetItem(
                id=found,
                project_id=files.project_id,
                reference_set_id=owner.id,
                label=PurePosixPath(name).stem or name,
                content_uri=str(asset.id),
                sort_order=position,
            )
            session.add(item)
        items[asset.id] = found
    await session.flush()
    return items
