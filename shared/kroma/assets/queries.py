"""Reading assets."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.assets.errors import AssetNotFoundError
from kroma.assets.models import Asset
from kroma.db.ids import row_id
from kroma.projects.models import Project
from kroma.projects.slugs import normalised_slug


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
    identifier = row_id(asset_id)
    project_slug = normalised_slug(slug)
    if identifier is None or project_slug is None:
        raise AssetNotFoundError
    statement = (
        select(Asset)
        .join(Project, Project.id == Asset.project_id)
        .where(Project.slug == project_slug, Asset.id == identifier)
    )
    asset = await session.scalar(statement)
    if asset is None:
        raise AssetNotFoundError
    return asset
