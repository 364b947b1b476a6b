"""Pictures that are named by the id of an asset instead of their path."""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.assets.models import Asset
from kroma.db.ids import row_id
from kroma.pipeline.planning.errors import PlanningPreflightError


def is_asset_id(ref: str) -> bool:
    """Whether a reference is an id: no picture has such a name, since it has no extension."""
    return row_id(ref) is not None


async def find_named_assets(
    session: AsyncSession, project_id: UUID, given: Mapping[str, str]
) -> dict[str, str]:
    """The paths of the project's assets, by id.

    Args:
        given: Ids, each with how a sentence about it begins.

    Raises:
        PlanningPreflightError: The project has no asset with such an id.
    """
    if not given:
        return {}
    statement = select(Asset.id, Asset.rel_path).where(
        Asset.project_id == project_id, Asset.id.in_([UUID(ref) for ref in given])
    )
    found = {str(identifier): path for identifier, path in await session.execute(statement)}
    for ref, begins in given.items():
        if ref not in found:
            raise PlanningPreflightError(f"{begins}: the project has no asset with the id '{ref}'")
    return found


async def hold_assets(session: AsyncSession, project_id: UUID, assets: Mapping[str, str]) -> None:
    """Keep named assets from being deleted until the session's transaction ends.

    Raises:
        PlanningPreflightError: One was deleted since its path was looked up.
    """
    statement = select(Asset.id).where(
        Asset.project_id == project_id, Asset.id.in_([UUID(identifier) for identifier in assets])
    )
    held = await session.scalars(statement.order_by(Asset.id).with_for_update(read=True, key_share=True))
    gone = {UUID(identifier) for identifier in assets} - set(held)
    if gone:
        raise PlanningPreflightError(f"Asset {min(gone)} was deleted just now; name another picture")
