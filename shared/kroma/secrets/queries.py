"""Reading secrets; values stay sealed here."""

from collections.abc import AsyncIterator, Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.keyset import EVERYTHING, Listing, Page, Window, ascending
from kroma.db.reader import Reader
from kroma.secrets.cipher import SecretLocation
from kroma.secrets.models import ProjectSecret

_ROWS_AT_A_TIME: Final = 500
_LISTED = Listing(
    ProjectSecret,
    ascending(ProjectSecret.provider_code),
    ascending(ProjectSecret.secret_name),
    of=ProjectSecret.project_id,
)


def location_of(secret: ProjectSecret) -> SecretLocation:
    """Where the value of a row belongs."""
    return SecretLocation(secret.project_id, secret.provider_code, secret.secret_name)


async def list_secrets(
    reader: Reader, project_id: UUID, *, window: Window = EVERYTHING
) -> Page[ProjectSecret]:
    """The secrets of a project by provider code and name."""
    return await _LISTED.page(reader, window, of=project_id)


async def list_secrets_for_change(
    session: AsyncSession, project_id: UUID, *, key_ref: str | None
) -> Sequence[ProjectSecret]:
    """The secrets of a project that ``key_ref`` sealed, or all; nobody else changes them meanwhile."""
    statement = (
        select(ProjectSecret)
        .where(ProjectSecret.project_id == project_id)
        .order_by(ProjectSecret.provider_code, ProjectSecret.secret_name)
        .with_for_update()
    )
    if key_ref is not None:
        statement = statement.where(ProjectSecret.key_ref == key_ref)
    return (await session.scalars(statement)).all()


async def list_stored_values(session: AsyncSession) -> AsyncIterator[tuple[SecretLocation, str]]:
    """Every stored value of all projects that is not blank, a few hundred in memory at a time."""
    statement = select(
        ProjectSecret.project_id,
        ProjectSecret.provider_code,
        ProjectSecret.secret_name,
        ProjectSecret.secret_value,
    ).where(func.btrim(ProjectSecret.secret_value) != "")
    async for row in await session.stream(statement, execution_options={"yield_per": _ROWS_AT_A_TIME}):
        yield SecretLocation(row[0], row[1], row[2]), row[3]
