"""Making, changing and deleting links between assets (contract 3.10)."""

from uuid import UUID

from msgspec import UnsetType
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.assets.errors import AssetLinkExistsError, ForeignAssetError, SameEndsError
from kroma.assets.models import Asset, AssetLink, LinkType
from kroma.assets.queries import get_asset_link
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.db.ids import row_id
from kroma.db.unique import flush_unique
from kroma.projects.queries import get_project
from kroma.texts import require_any, required_text


async def create_asset_link(
    db: Database,
    *,
    slug: str,
    parent_asset_id: str | UnsetType,
    child_asset_id: str | UnsetType,
    link_type: str | None = None,
) -> AssetLink:
    """Link two assets of a project; ``derived_from`` unless a type is given.

    Raises:
        FieldRequiredError: An end is missing, or a text is blank.
        SameEndsError: Both ends are the same.
        NotOneOfError: ``link_type`` is unknown.
        ProjectNotFoundError: No project has this slug.
        ForeignAssetError: The project lacks one of the assets.
        AssetLinkExistsError: There is such a link.
    """
    parent = required_text("parent_asset_id", parent_asset_id)
    child = required_text("child_asset_id", child_asset_id)
    if parent == child:
        raise SameEndsError
    kind = LinkType.DERIVED_FROM if link_type is None else LinkType.named(link_type)
    async with db.transaction() as session:
        project = await get_project(session, slug)
        link = AssetLink(
            project_id=project.id,
            parent_asset_id=await _asset_key(session, project.id, parent),
            child_asset_id=await _asset_key(session, project.id, child),
            link_type=kind,
        )
        session.add(link)
        await flush_unique(session, taken=AssetLinkExistsError())
    return link


async def change_asset_link(
    db: Database,
    *,
    slug: str,
    link_id: str,
    parent_asset_id: str | None = None,
    child_asset_id: str | None = None,
    link_type: str | None = None,
) -> AssetLink:
    """Set the given fields; None keeps one.

    Raises:
        NothingGivenError: No field is given.
        AssetLinkNotFoundError: The project or the link is unknown.
        FieldRequiredError: A given text is blank.
        SameEndsError: Both ends would be the same.
        NotOneOfError: ``link_type`` is unknown.
        ForeignAssetError: The project lacks one of the assets.
        AssetLinkExistsError: There is another such link.
    """
    require_any(parent_asset_id=parent_asset_id, child_asset_id=child_asset_id, link_type=link_type)
    async with db.transaction() as session:
        link = await get_asset_link(session, slug=slug, link_id=link_id, lock=True)
        parent = _merged("parent_asset_id", parent_asset_id, link.parent_asset_id)
        child = _merged("child_asset_id", child_asset_id, link.child_asset_id)
        if parent == child:
            raise SameEndsError
        kind = link.link_type if link_type is None else LinkType.named(link_type)
        parent_key = await _asset_key(session, link.project_id, parent)
        child_key = await _asset_key(session, link.project_id, child)
        link.parent_asset_id, link.child_asset_id, link.link_type = parent_key, child_key, kind
        link.updated_at = utc_now()
        await flush_unique(session, taken=AssetLinkExistsError())
    return link


async def delete_asset_link(db: Database, *, slug: str, link_id: str) -> None:
    """Remove a link; its assets stay.

    Raises:
        AssetLinkNotFoundError: The project or the link is unknown.
    """
    async with db.transaction() as session:
        await session.delete(await get_asset_link(session, slug=slug, link_id=link_id, lock=True))


def _merged(field: str, given: str | None, stored: UUID) -> str:
    return str(stored) if given is None else required_text(field, given)


async def _asset_key(session: AsyncSession, project_id: UUID, asset_id: str) -> UUID:
    key = row_id(asset_id)
    if key is not None:
        key = await session.scalar(select(Asset.id).where(Asset.id == key, Asset.project_id == project_id))
    if key is None:
        raise ForeignAssetError(asset_id)
    return key
