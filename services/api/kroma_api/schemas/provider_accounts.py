"""Bodies of ``/api/projects/{slug}/provider-accounts``."""

from typing import Any, Literal, Self

import msgspec
from msgspec import UNSET

from kroma.pipeline.control.check_provider import ProviderCheck
from kroma_api.schemas.reply import (
    AuditId,
    Id,
    ListReply,
    Reply,
    RequiredText,
    RowView,
    Stamp,
    shown_stamp,
)


class UpsertProviderAccountRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/provider-accounts``; what is absent goes to its default."""

    provider_code: RequiredText = UNSET
    """Normalized like a slug."""
    display_name: str | None = None
    """The code when absent."""
    account_ref: str | None = None
    """The account or organization there; free text."""
    base_url: str | None = None
    """Another address than the provider's own; never called from here."""
    enabled: bool | None = None
    """True when absent."""
    config_json: Any = None
    """Any JSON."""


class ChangeProviderAccountRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``PUT /api/projects/{slug}/provider-accounts/{provider_code}``; at least one field."""

    display_name: str | None = None
    """Not blank."""
    account_ref: str | None = None
    """Blank clears it."""
    base_url: str | None = None
    """Blank clears it."""
    enabled: bool | None = None
    """Whether it may be used."""
    config_json: Any = None
    """Any JSON."""


class ProviderAccountView(RowView, frozen=True, kw_only=True):
    """How a project reaches a provider."""

    project_id: Id
    provider_code: str
    display_name: str
    account_ref: str
    """The account or organization there."""
    base_url: str
    enabled: bool
    config_json: Any
    """Free."""
    created_at: Stamp
    updated_at: Stamp


class ListProviderAccountsResponse(ListReply, frozen=True, kw_only=True):
    """Provider accounts by code."""

    provider_accounts: list[ProviderAccountView]


class ProviderAccountResponse(Reply, frozen=True, kw_only=True):
    """One provider account."""

    provider_account: ProviderAccountView


class ChangedProviderAccountResponse(ProviderAccountResponse, frozen=True, kw_only=True):
    """The account as it is now."""

    audit_id: AuditId


class ProviderCheckView(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a project's key and address for a provider work."""

    works: bool
    code: str
    """`well`; else `key_missing`, `key_unreadable`, `key_refused`, `account_disabled`, `address_refused`,
    `unreachable` or `failing`."""
    message: str
    """What is wrong and what to do, or what was found."""
    checked_at: Stamp
    latency_ms: int | None
    """How long the provider took to answer; null when it was not asked."""

    @classmethod
    def of(cls, check: ProviderCheck) -> Self:
        return cls(
            works=check.health.ok,
            code=check.health.code,
            message=check.health.message,
            checked_at=shown_stamp(check.checked_at),
            latency_ms=check.latency_ms,
        )


class CheckProviderAccountResponse(Reply, frozen=True, kw_only=True):
    """What a check found."""

    provider_code: str
    check: ProviderCheckView


class DeletedProviderAccountResponse(Reply, frozen=True, kw_only=True):
    """The account is gone."""

    deleted: Literal[True] = True
    provider_code: str
    """The code given in the path."""
    audit_id: AuditId
