"""Bodies of ``/auth``."""

from datetime import UTC, datetime
from typing import Literal, Self

import msgspec
from msgspec import UNSET, UnsetType

from kroma.auth.models import ApiToken
from kroma.auth.service import CreatedToken
from kroma_api.schemas.reply import Id, ListReply, Reply, RowView, Stamp, shown_stamp


class CreateTokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /auth/token``."""

    label: str | None = None
    """Cut to 200 characters."""
    project_slug: str | None = None
    """The only project the token may touch; absent for all."""
    scopes: list[str] | None = None
    """`read`, `review`, `create`, `spend`, `storage`, `secrets` or `admin`; absent for everything."""
    expires_at: str | None = None
    """RFC 3339, or a date that counts to its last second (UTC); empty is never."""


class CreatedTokenView(msgspec.Struct, frozen=True, kw_only=True):
    """A new token with its secret, which is never shown again."""

    id: Id
    token: str
    """The secret itself."""
    token_prefix: str
    """Its first 12 characters."""
    label: str
    project_id: Id | None
    """The only project that it opens; null for all."""
    scopes: list[str] | UnsetType = UNSET
    """What it may do there, sorted; absent for everything."""
    created_at: Stamp
    expires_at: str | None
    """UTC with offset; null for never."""

    @classmethod
    def of(cls, created: CreatedToken) -> Self:
        row = created.row
        return cls(
            id=str(row.id),
            token=created.secret,
            token_prefix=row.token_prefix,
            label=row.label,
            project_id=None if row.project_id is None else str(row.project_id),
            scopes=UNSET if row.scopes is None else row.scopes,
            created_at=shown_stamp(row.created_at),
            expires_at=_shown_expiry(row.expires_at),
        )


class CreateTokenResponse(Reply, frozen=True, kw_only=True):
    """The new token."""

    auth_token: CreatedTokenView


class TokenView(RowView, frozen=True, kw_only=True):
    """A token without its secret."""

    id: Id
    user_id: Id
    """The user it belongs to."""
    project_id: Id | None
    """The only project that it opens; null for all."""
    scopes: list[str] | UnsetType = UNSET
    """What it may do there, sorted; absent for everything."""
    token_prefix: str
    """The first 12 characters of the secret."""
    label: str
    expires_at: str | None
    """UTC with offset; null for never."""
    revoked_at: Stamp | None
    last_used_at: Stamp | None
    created_at: Stamp
    active: bool
    """Neither revoked nor expired."""

    @classmethod
    def of(cls, row: ApiToken, *, now: datetime) -> Self:
        return cls.from_row(
            row,
            project_id=None if row.project_id is None else str(row.project_id),
            scopes=UNSET if row.scopes is None else row.scopes,
            expires_at=_shown_expiry(row.expires_at),
            revoked_at=_stamp_or_null(row.revoked_at),
            last_used_at=_stamp_or_null(row.last_used_at),
            active=row.is_active(now=now),
        )


class ListTokensResponse(ListReply, frozen=True, kw_only=True):
    """All tokens, newest first."""

    auth_tokens: list[TokenView]


class RevokeTokenResponse(Reply, frozen=True, kw_only=True):
    """The token is revoked."""

    deleted: Literal[True] = True
    token_id: str
    """The id given in the path."""


def _shown_expiry(moment: datetime | None) -> str | None:
    # Contract 1.3: the one stamp with an offset instead of Z.
    return None if moment is None else moment.astimezone(UTC).isoformat()


def _stamp_or_null(moment: datetime | None) -> str | None:
    return None if moment is None else shown_stamp(moment)
