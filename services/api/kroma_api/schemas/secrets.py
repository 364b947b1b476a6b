"""Bodies of ``/api/projects/{slug}/secrets``; no reply holds a value."""

from typing import Literal, Self

import msgspec
from msgspec import UNSET

from kroma.secrets.models import ProjectSecret
from kroma.secrets.service import EncryptionStatus, Rotation
from kroma_api.schemas.reply import AuditId, Id, ListReply, Reply, RequiredText, RowView, Stamp


class UpsertSecretRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/secrets``."""

    provider_code: RequiredText = UNSET
    """Normalized like a slug."""
    secret_name: RequiredText = UNSET
    """Its case is kept."""
    secret_value: RequiredText = UNSET
    """Stored encrypted; no route returns it."""

    def __repr__(self) -> str:
        # A body that ends in a log line or an error must not take the value along.
        return f"{type(self).__name__}(...)"


class RotateSecretsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/secrets/rotate``."""

    from_key_ref: str | None = None
    """Only secrets that this key sealed; blank or absent for all."""
    force: bool | None = None
    """Also those that the current key sealed already."""


class SecretView(RowView, frozen=True, kw_only=True):
    """A secret without its value."""

    project_id: Id
    provider_code: str
    secret_name: str
    has_value: bool
    updated_at: Stamp

    @classmethod
    def of(cls, secret: ProjectSecret) -> Self:
        return cls.from_row(secret, has_value=bool(secret.secret_value.strip()))


class ListSecretsResponse(ListReply, frozen=True, kw_only=True):
    """Secrets by provider code and name."""

    secrets: list[SecretView]


class UpsertSecretResponse(Reply, frozen=True, kw_only=True):
    """The secret as it is now."""

    secret: SecretView
    audit_id: AuditId


class DeletedSecretResponse(Reply, frozen=True, kw_only=True):
    """The secret is gone."""

    deleted: Literal[True] = True
    audit_id: AuditId


class RotationStatusResponse(Reply, frozen=True, kw_only=True):
    """How the secrets are stored."""

    status: EncryptionStatus


class RotateSecretsResponse(Reply, frozen=True, kw_only=True):
    """What the rotation did."""

    rotation: Rotation
    audit_id: AuditId
