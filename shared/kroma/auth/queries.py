"""Reading tokens."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Text, Uuid, and_, bindparam, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.auth.models import ApiToken
from kroma.db.keyset import EVERYTHING, Listing, Page, Window, descending
from kroma.db.prepared import Prepared
from kroma.db.reader import Reader
from kroma.projects.models import Project

_LISTED = Listing(ApiToken, descending(ApiToken.created_at), descending(ApiToken.id))


def _is_active(now: datetime) -> ColumnElement[bool]:
    return and_(ApiToken.revoked_at.is_(None), or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > now))


async def count_active_tokens(session: AsyncSession, *, now: datetime) -> int:
    """How many tokens of all users are neither revoked nor expired."""
    statement = select(func.count()).select_from(ApiToken).where(_is_active(now))
    return (await session.execute(statement)).scalar_one()


async def has_lasting_token(session: AsyncSession) -> bool:
    """Whether a token is active and never expires by itself."""
    lasting = select(ApiToken.id).where(ApiToken.revoked_at.is_(None), ApiToken.expires_at.is_(None))
    return (await session.execute(select(lasting.exists()))).scalar_one()


class KnownToken(msgspec.Struct, frozen=True, kw_only=True):
    """An active token, and the project that a path names."""

    id: UUID
    user_id: UUID
    project_id: UUID | None
    scopes: list[str] | None
    """None for everything."""
    token_hash: str
    last_used_at: datetime | None
    named_project_id: UUID | None
    """None: there is no such project, or none is named."""
    named_project_owner_id: UUID | None


_NOW: Final = bindparam("now", type_=ApiToken.expires_at.type)
# Every request waits for this: the entities of a session cost more than the rest of most reads.
_ACTIVE: Final = Prepared(
    select(
        ApiToken.id,
        ApiToken.user_id,
        ApiToken.project_id,
        ApiToken.scopes,
        ApiToken.token_hash,
        ApiToken.last_used_at,
        Project.id.label("named_project_id"),
        Project.owner_user_id.label("named_project_owner_id"),
    )
    .outerjoin(Project, Project.slug == bindparam("slug", type_=Text()))
    .where(
        ApiToken.token_hash == bindparam("token_hash", type_=Text()),
        ApiToken.revoked_at.is_(None),
        or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > _NOW),
    )
)


_STILL_ACTIVE: Final = Prepared(
    select(ApiToken.id).where(
        ApiToken.id == bindparam("token_id", type_=Uuid()),
        ApiToken.revoked_at.is_(None),
        or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > _NOW),
    )
)


async def is_active(reader: Reader, token_id: UUID, *, now: datetime) -> bool:
    """Whether a token is neither revoked nor expired."""
    return bool(await reader.records(_STILL_ACTIVE, token_id=token_id, now=now))


async def find_active_token(
    reader: Reader, token_hash: str, *, slug: str | None, now: datetime
) -> KnownToken | None:
    """The active token with this hash, and the project of ``slug`` if there is one, in one round trip."""
    rows = await reader.records(_ACTIVE, token_hash=token_hash, slug=slug, now=now)
    return KnownToken(**rows[0]) if rows else None


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
