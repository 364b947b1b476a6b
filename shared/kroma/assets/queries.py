"""Reading assets and their links."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.assets.errors import AssetLinkNotFoundError, AssetNotFoundError
from kroma.assets.models import Asset, AssetKind, AssetLink, LinkType
from kroma.db.ids import is_row, row_id
from kroma.db.keyset import EVERYTHING, ListOrder, Page, Window, descending
from kroma.projects.contents import get_in_project, list_last_changed
from kroma.texts import optional_text

_NEWEST = ListOrder("Asset", descending(Asset.created_at), descending(Asset.id))


class AssetFilter(NamedTuple):
    """Which assets to list; None keeps all."""

    kind: AssetKind | None = None
    run_id: str | None = None
    job_id: str | None = None


async def list_assets(
    session: AsyncSession,
    project_id: UUID,
    *,
    wanted: AssetFilter,
    window: Window = EVERYTHING,
) -> Page[Asset]:
    """The assets of a project, newest first; an unknown run or job has none."""
    statement = select(Asset).where(Asset.project_id == project_id)
    if wanted.kind is not None:
        statement = statement.where(Asset.kind == wanted.kind)
    for column, text in ((Asset.run_id, wanted.run_id), (Asset.job_id, wanted.job_id)):
        if text is not None:
            statement = statement.where(is_row(column, text))
    return await _NEWEST.page(session, statement, window, scope=project_id)


async def get_asset(session: AsyncSession, *, slug: str, asset_id: str) -> Asset:
    """A project's asset.

    Raises:
        AssetNotFoundError: The project or the asset is unknown.
    """
    return await get_in_project(session, Asset, slug=slug, identifier=asset_id, missing=AssetNotFoundError())


async def list_asset_links(
    session: AsyncSession,
    project_id: UUID,
    *,
    asset_id: str | None = None,
    link_type: str | None = None,
    window: Window = EVERYTHING,
) -> Page[AssetLink]:
    """The asset links of a project, last changed first.

    Args:
        session: The transaction to read in.
        project_id: The project.
        asset_id: Keep the links from or to this asset; blank keeps all.
        link_type: Keep the links of this type.
        window: Which part of the list.

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
            return Page()
        conditions.append(or_(AssetLink.parent_asset_id == key, AssetLink.child_asset_id == key))
    return await list_last_changed(session, AssetLink, project_id, *conditions, window=window)


async def get_asset_link(session: AsyncSession, *, slug: str, link_id: str, lock: bool = False) -> AssetLink:
    """A project's asset link.

    Raises:
        AssetLinkNotFoundError: The project or the link is unknown.
    """
    return await get_in_project(
        session, AssetLink, slug=slug, identifier=link_id, missing=AssetLinkNotFoundError(), lock=lock
    )
