"""Reading tokens."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.auth.models import ApiToken
from kroma.db.keyset import EVERYTHING, Listing, Page, Window, descending
from kroma.db.reader import Reader
from kroma.projects.models import Project

_LISTED = Listing(ApiToken, descending(ApiToken.created_at), descending(ApiToken.id))


def _is_active(now: datetime) -> ColumnElement[bool]:
    return and_(ApiToken.revoked_at.is_(None), or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > now))


async def count_active_tokens(session: AsyncSession, *, now: datetime) -> int:
    """How many tokens of all users are neither revoked nor expired."""
    statement = select(func.count()).select_from(ApiToken).where(_is_active(now))
    return (await session.execute(statement)).scalar_one()


async def find_active_token(
    session: AsyncSession, token_hash: str, *, slug: str | None, now: datetime
) -> tuple[ApiToken, Project | None] | None:
    """The active token with this hash, and the project of ``slug`` if there is one, in one round trip."""
    statement = (
        select(ApiToken, Project)
        .outerjoin(Project, Project.slug == slug)
        .where(ApiToken.token_hash == token_hash, _is_active(now))
    )
    row = (await session.execute(statement)).one_or_none()
    return None if row is None else (row[0], row[1])


async def list_tokens(reader: Reader, *, window: Window = EVERYTHING) -> Page[ApiToken]:
    """All tokens of all users, newest first; revoked and expired ones too."""
    return await _LISTED.page(reader, window)


async def list_tokens_with_slugs(session: AsyncSession) -> Sequence[tuple[ApiToken, str | None]]:
    """All tokens, newest first, each with the slug of the only project it may touch."""
    statement = (
        select(ApiToken, Project.slug)
        .outerjoin(Project, Project.id == ApiToken.project_id)
        .order_by(ApiToken.created_at.desc(), ApiToken.id.desc())
    )
    return [(row[0], row[1]) for row in await session.execute(statement)]
