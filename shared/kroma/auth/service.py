"""Making, checking and revoking tokens."""

import hmac
import re
import secrets
from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import Uuid, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.audit import service as audit
from kroma.auth import queries
from kroma.auth.caller import OWNER, Caller
from kroma.auth.errors import (
    AlreadyBootstrappedError,
    ForbiddenError,
    InvalidExpiryError,
    InvalidScopesError,
    InvalidTokenError,
    LastTokenError,
    TokenNotFoundError,
)
from kroma.auth.models import ApiToken
from kroma.auth.scopes import Scope, with_included
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.db.ids import row_id
from kroma.db.prepared import Prepared
from kroma.projects.models import LOCAL_DISPLAY_NAME, LOCAL_USERNAME, Project
from kroma.projects.service import ensure_user
from kroma.projects.slugs import normalized_slug

SECRET_PREFIX: Final = "kroma_"  # noqa: S105 - what a secret starts with, not one
SHOWN_CHARACTERS: Final = 12
LABEL_CHARACTERS: Final = 200
LAST_USED_PRECISION: Final = timedelta(seconds=5)
"""A busy token's stamp is this coarse, so that reading does not mean writing."""
_BOOTSTRAP_LOCK: Final = 0x6B726F6D61  # "kroma": an advisory lock has a number, not a name
_STAMP = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class CreatedToken(NamedTuple):
    """A new token; ``secret`` is shown once and stored nowhere."""

    secret: str
    row: ApiToken


class TokenState(msgspec.Struct, frozen=True, kw_only=True):
    """A token as a list shows it, without its secret."""

    id: UUID
    token_prefix: str
    label: str
    project_slug: str | None
    """The only project it may touch."""
    scopes: list[str] | None
    """What it may do there; None for everything."""
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    active: bool


def parsed_expiry(text: str | None) -> datetime | None:
    """When a token ends: an RFC 3339 stamp, or a date that counts to its last second (UTC).

    Untrimmed on purpose (contract 1.3); None or an empty text is never.

    Raises:
        InvalidExpiryError: The text is neither.
    """
    if not text:
        return None
    try:
        if _DATE.fullmatch(text):
            return datetime.combine(date.fromisoformat(text), time(23, 59, 59), UTC)
        if _STAMP.fullmatch(text):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidExpiryError


def parsed_scopes(words: Iterable[str] | None) -> frozenset[Scope] | None:
    """What a token may do; None is everything.

    Raises:
        InvalidScopesError: A word is no scope, or there is none.
    """
    if words is None:
        return None
    given = {word.strip() for word in words}
    unknown = given.difference(Scope)
    if unknown or not given:
        raise InvalidScopesError(sorted(unknown))
    return frozenset(map(Scope, given))


async def create_token(
    session: AsyncSession,
    *,
    label: str = "",
    project: Project | None = None,
    scopes: Collection[Scope] | None = None,
    expires_at: datetime | None = None,
    caller: Caller = OWNER,
) -> CreatedToken:
    """Make a token of the local user, for one project or for all, as ``caller`` asks.

    Raises:
        ForeignScopesError: The caller may not do what the token might.
    """
    caller.require_all_of(scopes)
    user_id = await ensure_user(session, username=LOCAL_USERNAME, display_name=LOCAL_DISPLAY_NAME)
    secret = SECRET_PREFIX + secrets.token_hex(32)
    row = ApiToken(
        user_id=user_id,
        project_id=None if project is None else project.id,
        scopes=None if scopes is None else sorted(scopes),
        token_hash=_hash(secret),
        token_prefix=secret[:SHOWN_CHARACTERS],
        label=label.strip()[:LABEL_CHARACTERS],
        expires_at=expires_at,
    )
    session.add(row)
    await session.flush()
    await _record(session, "create", row, actor=caller.user_id)
    return CreatedToken(secret, row)


async def token_states(session: AsyncSession) -> list[TokenState]:
    """All tokens, newest first."""
    now = utc_now()
    return [
        TokenState(
            id=row.id,
            token_prefix=row.token_prefix,
            label=row.label,
            project_slug=slug,
            scopes=row.scopes,
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
            last_used_at=row.last_used_at,
            active=row.is_active(now=now),
        )
        for row, slug in await queries.list_tokens_with_slugs(session)
    ]


async def close_bootstrap(session: AsyncSession) -> None:
    """Hold the right to make the first token until the transaction ends.

    Raises:
        AlreadyBootstrappedError: An active token exists by now.
    """
    # Without the lock two callers would both count nothing and both get a token.
    await session.execute(select(func.pg_advisory_xact_lock(_BOOTSTRAP_LOCK)))
    if await queries.count_active_tokens(session, now=utc_now()):
        raise AlreadyBootstrappedError


async def is_bootstrap_open(db: Database) -> bool:
    """Whether no active token exists."""
    async with db.transaction() as session:
        return await queries.count_active_tokens(session, now=utc_now()) == 0


async def count_active_tokens(session: AsyncSession) -> int:
    """How many tokens would be accepted now."""
    return await queries.count_active_tokens(session, now=utc_now())


async def authenticate(db: Database, secret: str, *, slug: str | None) -> Caller:
    """Who holds this secret, allowed to touch the project that a path names.

    Args:
        secret: The bearer token as sent.
        slug: The path's slug segment, decoded; None when the path names no project.

    Raises:
        InvalidTokenError: No active token has this secret.
        ForbiddenError: The project is unknown, another user's, or outside the token's scope.
    """
    now = utc_now()
    digest = _hash(secret)
    normalized = None if slug is None else normalized_slug(slug)
    async with db.reading() as reader:
        token = await queries.find_active_token(reader, digest, slug=normalized, now=now)
        if token is None or not hmac.compare_digest(token.token_hash, digest):
            raise InvalidTokenError
        if token.last_used_at is None or now - token.last_used_at > LAST_USED_PRECISION:
            await reader.records(_USED, token_id=token.id, now=now)
    if slug is not None and not _may_touch(token):
        raise ForbiddenError
    return Caller(
        user_id=token.user_id,
        project_id=token.project_id,
        token_id=token.id,
        scopes=_effective(token.scopes),
    )


def _effective(words: Iterable[str] | None) -> frozenset[Scope] | None:
    return None if words is None else with_included(map(Scope, words))


async def is_active(db: Database, caller: Caller) -> bool:
    """Whether the caller's token, if it has one, is neither revoked nor expired by now."""
    if caller.token_id is None:
        return True
    async with db.reading() as reader:
        return await queries.is_active(reader, caller.token_id, now=utc_now())


_USED: Final = Prepared(
    update(ApiToken)
    .where(ApiToken.id == bindparam("token_id", type_=Uuid()))
    .values(last_used_at=bindparam("now", type_=ApiToken.last_used_at.type))
)


def _may_touch(token: queries.KnownToken) -> bool:
    if token.named_project_id is None or token.named_project_owner_id != token.user_id:
        return False
    return token.project_id is None or token.project_id == token.named_project_id


async def revoke_token(session: AsyncSession, token_id: str, *, caller: Caller = OWNER) -> None:
    """Make a token unusable for good, as ``caller`` asks; revoking again changes nothing.

    Raises:
        TokenNotFoundError: No token has this id.
        ForeignScopesError: It may do what the caller may not.
        LastTokenError: None that lasts would be left, and the caller may not do everything.
    """
    identifier = row_id(token_id)
    token = None
    if identifier is not None:
        token = await session.get(ApiToken, identifier, with_for_update=True)
    if token is None:
        raise TokenNotFoundError
    caller.require_all_of(_effective(token.scopes))
    if token.revoked_at is None:
        token.revoked_at = utc_now()
        await _record(session, "revoke", token, actor=caller.user_id)
        if caller.scopes is not None:
            await _require_lasting(session)


async def _require_lasting(session: AsyncSession) -> None:
    """Refuse to leave no token for good: the bootstrap would then give the caller every right.

    Raises:
        LastTokenError: There is none.
    """
    await session.flush()
    await session.execute(select(func.pg_advisory_xact_lock(_BOOTSTRAP_LOCK)))
    if not await queries.has_lasting_token(session):
        raise LastTokenError


async def _record(session: AsyncSession, what: str, token: ApiToken, *, actor: UUID | None) -> None:
    await audit.record(
        session,
        code=f"token.{what}",
        project_id=token.project_id,
        actor=actor,
        payload={"token_id": str(token.id)} | ({} if token.scopes is None else {"scopes": token.scopes}),
    )


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
