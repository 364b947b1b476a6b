"""Reading assets and their links."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, or_
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.assets.errors import AssetLinkNotFoundError, AssetNotFoundError
from kroma.assets.models import Asset, AssetKind, AssetLink, LinkType
from kroma.db.ids import optional_row_id
from kroma.db.keyset import EVERYTHING, Page, Window
from kroma.db.reader import Reader, equals
from kroma.projects.contents import get_in_project, last_changed_first, newest_first
from kroma.texts import optional_text

_ASSETS = newest_first(
    Asset,
    filters={"kind": equals(Asset.kind), "run_id": equals(Asset.run_id), "job_id": equals(Asset.job_id)},
)
_LINKS = last_changed_first(
    AssetLink,
    filters={
        "link_type": equals(AssetLink.link_type),
        "end": or_(
            AssetLink.parent_asset_id == bindparam("end"), AssetLink.child_asset_id == bindparam("end")
        ),
    },
)


class AssetFilter(NamedTuple):
    """Which assets to list; None keeps all."""

    kind: AssetKind | None = None
    run_id: str | None = None
    job_id: str | None = None


async def list_assets(
    reader: Reader,
    project_id: UUID,
    *,
    wanted: AssetFilter,
    window: Window = EVERYTHING,
) -> Page[Asset]:
    """The assets of a project, newest first; an unknown run or job has none."""
    return await _ASSETS.page(
        reader,
        window,
        of=project_id,
        kind=wanted.kind,
        run_id=optional_row_id(wanted.run_id),
        job_id=optional_row_id(wanted.job_id),
    )


async def get_asset(source: AsyncSession | Reader, *, slug: str, asset_id: str) -> Asset:
    """A project's asset.

    Raises:
        AssetNotFoundError: The project or the asset is unknown.
    """
    return await get_in_project(source, Asset, slug=slug, identifier=asset_id, missing=AssetNotFoundError())


async def list_asset_links(
    reader: Reader,
    project_id: UUID,
    *,
    asset_id: str | None = None,
    link_type: str | None = None,
    window: Window = EVERYTHING,
) -> Page[AssetLink]:
    """The asset links of a project, last changed first.

    Args:
        asset_id: Keep the links from or to this asset; blank keeps all.
        link_type: Keep the links of this type.

    Raises:
        FieldRequiredError: ``link_type`` is blank.
        NotOneOfError: ``link_type`` is unknown.
    """
    return await _LINKS.page(
        reader,
        window,
        of=project_id,
        link_type=None if link_type is None else LinkType.named(link_type),
        end=optional_row_id(optional_text(asset_id)),
    )


async def get_asset_link(
    source: AsyncSession | Reader, *, slug: str, link_id: str, lock: bool = False
) -> AssetLink:
    """A project's asset link.

    Raises:
        AssetLinkNotFoundError: The project or the link is unknown.
    """
    return await get_in_project(
        source, AssetLink, slug=slug, identifier=link_id, missing=AssetLinkNotFoundError(), lock=lock
    )
