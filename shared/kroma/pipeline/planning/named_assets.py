"""Pictures named by an asset's id instead of a path."""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.assets.models import Asset
from kroma.db.ids import row_id
from kroma.pipeline.planning.errors import PlanningPreflightError


def is_asset_id(ref: str) -> bool:
    """Whether a reference is an id; no picture's name is, since an id has no extension."""
    return row_id(ref) is not None


async def find_named_assets(
    session: AsyncSession, project_id: UUID, given: Mapping[str, str]
) -> dict[str, str]:
    """The paths of the project's assets, by id.

    Args:
        given: The field or thing that names each id, for errors, by id.

    Raises:
        PlanningPreflightError: The project has no asset with one of the ids.
    """
    if not given:
        return {}
    statement = select(Asset.id, Asset.rel_path).where(
        Asset.project_id == project_id, Asset.id.in_([UUID(ref) for ref in given])
    )
    found = {str(identifier): path for identifier, path in await session.execute(statement)}
    for ref, subject in given.items():
        if ref not in found:
            raise PlanningPreflightError(f"{subject}: the project has no asset with the id '{ref}'")
    return found


async def hold_assets(session: AsyncSession, project_id: UUID, assets: Mapping[str, str]) -> None:
    """Lock named assets against deletion until the session's transaction ends.

    Raises:
        PlanningPreflightError: One has been deleted since its path was read.
    """
    statement = select(Asset.id).where(
        Asset.project_id == project_id, Asset.id.in_([UUID(identifier) for identifier in assets])
    )
    held = await session.scalars(statement.order_by(Asset.id).with_for_update(read=True, key_share=True))
    gone = {UUID(identifier) for identifier in assets} - set(held)
    if gone:
        raise PlanningPreflightError(f"Asset {min(gone)} has just been deleted; name another picture")
