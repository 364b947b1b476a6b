"""Reading assets and their links."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.assets.errors import AssetLinkNotFoundError, AssetNotFoundError
from kroma.assets.models import Asset, AssetLink, LinkType
from kroma.db.ids import row_id
from kroma.projects.contents import get_in_project, list_last_changed
from kroma.texts import optional_text


async def list_assets(session: AsyncSession, project_id: UUID, *, limit: int) -> Sequence[Asset]:
    """The newest assets of a project."""
    statement = (
        select(Asset)
        .where(Asset.project_id == project_id)
        .order_by(Asset.created_at.desc(), Asset.id.desc())
        .limit(limit)
    )
    return (await session.scalars(statement)).all()


async def get_asset(session: AsyncSession, *, slug: str, asset_id: str) -> Asset:
    """A project's asset.

    Raises:
        AssetNotFoundError: The project or the asset is unknown.
    """
    return await get_in_project(session, Asset, slug=slug, identifier=asset_id, missing=AssetNotFoundError())


async def list_asset_links(
    session: AsyncSession, project_id: UUID, *, asset_id: str | None = None, link_type: str | None = None
) -> Sequence[AssetLink]:
    """The asset links of a project, last changed first.

    Args:
        session: The transaction to read in.
        project_id: The project.
        asset_id: Keep the links from or to this asset; blank keeps all.
        link_type: Keep the links of this type.

    Raises:
        FieldRequiredError: ``link_type`` is blank.
        NotOneOfError: ``link_type`` is unknown.
    """
    conditions: list[ColumnElement[bool]] = []
    if link_type is not None:
        conditions.append(AssetLink.link_type == LinkType.named(link_type))
    end = optional_text(asset_id)
    if end is not None:
        key = row_id(end)
        if key is None:
            return []
        conditions.append(or_(AssetLink.parent_asset_id == key, AssetLink.child_asset_id == key))
    return await list_last_changed(session, AssetLink, project_id, *conditions)


async def get_asset_link(session: AsyncSession, *, slug: str, link_id: str, lock: bool = False) -> AssetLink:
    """A project's asset link.

    Raises:
        AssetLinkNotFoundError: The project or the link is unknown.
    """
    return await get_in_project(
        session, AssetLink, slug=slug, identifier=link_id, missing=AssetLinkNotFoundError(), lock=lock
    )
