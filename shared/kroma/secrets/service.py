"""Storing, reading and re-encrypting secrets (contract 3.19); no value leaves but through ``read_secret``."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import structlog
from msgspec import UnsetType
from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.audit import service as audit
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.projects.queries import find_project, get_project, get_project_id
from kroma.projects.slugs import normalized_slug, provider_code
from kroma.secrets.cipher import SecretLocation, is_sealed
from kroma.secrets.errors import NoSecretOpensError, SecretNotFoundError, SecretUnreadableError
from kroma.secrets.keyring import Keyring
from kroma.secrets.models import ProjectSecret
from kroma.secrets.on_access_change import AccessChanged, nothing_else
from kroma.secrets.queries import list_secrets, list_secrets_for_change, list_stored_values, location_of
from kroma.texts import name_text, optional_text, required_text

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class StoredSecret(NamedTuple):
    """A secret after a change, and the trail's record of it."""

    secret: ProjectSecret
    audit_id: UUID


class KeyRefCount(msgspec.Struct, frozen=True):
    """How many rows name this key."""

    key_ref: str
    count: int


class EncryptionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a project's secrets are stored."""

    total: int
    encrypted: int
    plaintext: int
    """Values in the clear, taken over from the original."""
    empty: int
    """Names without a value."""
    openable: int
    """Encrypted values that the keys at hand open."""
    unreadable: int
    """Encrypted values that they do not open."""
    key_refs: list[KeyRefCount]
    """The number of secrets under each key reference."""


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """What a rotation did with the rows that it looked at."""

    scanned: int
    rotated: int
    skipped_empty: int
    skipped_current_key_ref: int
    plaintext_reencrypted: int
    """The number of rotated secrets that were stored in plain text."""
    unreadable: int
    """Left as they are, since no key at hand opens them."""


async def read_secret(
    session: AsyncSession, keyring: Keyring, *, project_id: UUID, provider_code: str, secret_name: str
) -> str | None:
    """The value of a secret, for the worker that needs it; None if it is unknown or blank.

    Raises:
        SecretUnreadableError: No key at hand opens it.
        MasterKeyFileError: The key's file exists and cannot be used.
    """
    secret = await session.get(ProjectSecret, (project_id, provider_code, secret_name))
    if secret is None or not secret.secret_value.strip():
        return None
    value = keyring.find_value(secret.secret_value, location_of(secret))
    if value is None:
        raise SecretUnreadableError(provider_code, secret_name)
    return value if value.strip() else None


async def upsert_secret(
    db: Database,
    keyring: Keyring,
    *,
    slug: str,
    code: str | UnsetType,
    name: str | UnsetType,
    value: str | UnsetType,
    actor: UUID | None,
    also: AccessChanged = nothing_else,
) -> StoredSecret:
    """Store a value, sealed with the current key, over the one that was there.

    Raises:
        FieldRequiredError: The code, the name or the value is missing or blank.
        TextTooLongError: The code or the name is too long.
        ProjectNotFoundError: No project has this slug.
        MasterKeyFileError: The key's file cannot be made or used.
    """
    checked_code = provider_code(code)
    checked_name = required_text("secret_name", name)
    checked_value = required_text("secret_value", value)
    name_text("provider_code", checked_code)
    name_text("secret_name", checked_name)
    async with db.transaction() as session:
        project = await get_project(session, slug)
        location = SecretLocation(project.id, checked_code, checked_name)
        sealed = await asyncio.to_thread(keyring.seal, checked_value, location)
        changes: dict[str, object] = {"secret_value": sealed, "key_ref": keyring.ref}
        statement = (
            insert(ProjectSecret)
            .values(**location._asdict(), **changes)
            .on_conflict_do_update(
                index_elements=[
                    ProjectSecret.project_id,
                    ProjectSecret.provider_code,
                    ProjectSecret.secret_name,
                ],
                set_={**changes, "updated_at": utc_now()},
            )
            .returning(ProjectSecret)
        )
        rows = await session.scalars(statement, execution_options={"populate_existing": True})
        secret = rows.one()
        event = await audit.record(
            session,
            code="secret.upsert",
            project_id=project.id,
            actor=actor,
            payload={"provider_code": checked_code, "secret_name": checked_name},
        )
        await also(session, project.id, checked_code)
    return StoredSecret(secret, event.id)


async def delete_secret(
    db: Database, *, slug: str, code: str, name: str, actor: UUID | None, also: AccessChanged = nothing_else
) -> UUID:
    """Remove a secret for good; the id of the trail's record, which names it as given.

    Raises:
        FieldRequiredError: ``code`` cannot be normalized, or ``name`` is blank.
        SecretNotFoundError: The project or the secret is unknown.
    """
    if normalized_slug(slug) is None:
        raise SecretNotFoundError
    checked_code, checked_name = provider_code(code), required_text("secret_name", name)
    async with db.transaction() as session:
        project = await find_project(session, slug)
        if project is None:
            raise SecretNotFoundError
        statement = (
            delete(ProjectSecret)
            .where(
                ProjectSecret.project_id == project.id,
                ProjectSecret.provider_code == checked_code,
                ProjectSecret.secret_name == checked_name,
            )
            .returning(ProjectSecret.secret_name)
        )
        if await session.scalar(statement) is None:
            raise SecretNotFoundError
        event = await audit.record(
            session,
            code="secret.delete",
            project_id=project.id,
            actor=actor,
            payload={"provider_code": code, "secret_name": name},
        )
        await also(session, project.id, checked_code)
    return event.id


async def encryption_status(db: Database, keyring: Keyring, *, slug: str) -> EncryptionStatus:
    """How a project's secrets are stored, and whether the keys at hand open them.

    Raises:
        ProjectNotFoundError: No project has this slug.
        MasterKeyFileError: The key's file exists and cannot be used.
    """
    async with db.reading() as reader:
        rows = await list_secrets(reader, await get_project_id(reader, slug))
    values = [row for row in rows if row.secret_value.strip()]
    sealed = [row for row in values if is_sealed(row.secret_value)]
    openable = sum(keyring.find_value(row.secret_value, location_of(row)) is not None for row in sealed)
    return EncryptionStatus(
        total=len(rows),
        encrypted=len(sealed),
        plaintext=len(values) - len(sealed),
        empty=len(rows) - len(values),
        openable=openable,
        unreadable=len(sealed) - openable,
        key_refs=[KeyRefCount(*pair) for pair in sorted(Counter(row.key_ref for row in rows).items())],
    )


class FinishedRotation(NamedTuple):
    """What a rotation did, and the trail's record of it."""

    rotation: Rotation
    audit_id: UUID


async def rotate_secrets(
    db: Database,
    keyring: Keyring,
    *,
    slug: str,
    from_key_ref: str | None = None,
    force: bool = False,
    actor: UUID | None,
) -> FinishedRotation:
    """Seal a project's secrets with the current key; rows that do not open stay as they are.

    Args:
        keyring: The current key, and those that open older rows.
        from_key_ref: Only rows that name this key; blank is all.
        force: Also rows that name the current key already, which are skipped unless in the clear.

    Raises:
        ProjectNotFoundError: No project has this slug.
        MasterKeyFileError: The key's file cannot be made or used; nothing is changed.
    """
    key_ref = optional_text(from_key_ref)
    async with db.transaction() as session:
        project = await get_project(session, slug)
        rows = await list_secrets_for_change(session, project.id, key_ref=key_ref)
        rotation = await asyncio.to_thread(_rotate, rows, keyring, force=force)
        event = await audit.record(
            session,
            code="secret.rotate",
            project_id=project.id,
            actor=actor,
            payload={"from_key_ref": key_ref, "force": force, "rotated": rotation.rotated},
        )
    if rotation.unreadable:
        log.warning("secrets.unreadable", project=project.slug, count=rotation.unreadable)
    return FinishedRotation(rotation, event.id)


def _rotate(rows: Sequence[ProjectSecret], keyring: Keyring, *, force: bool) -> Rotation:
    counts = Counter[str]()
    for row in rows:
        is_plaintext = not is_sealed(row.secret_value)
        if not row.secret_value.strip():
            counts["skipped_empty"] += 1
        elif row.key_ref == keyring.ref and not force and not is_plaintext:
            counts["skipped_current_key_ref"] += 1
        elif (value := keyring.find_value(row.secret_value, location_of(row))) is None:
            counts["unreadable"] += 1
        else:
            row.secret_value, row.key_ref = keyring.seal(value, location_of(row)), keyring.ref
            counts["rotated"] += 1
            counts["plaintext_reencrypted"] += is_plaintext
    numbers: dict[str, Any] = {field: counts[field] for field in Rotation.__struct_fields__}
    return msgspec.convert({**numbers, "scanned": len(rows)}, Rotation)


async def check_secrets_open(db: Database, keyring: Keyring) -> None:
    """See at the start that the keys are the ones that sealed what is stored.

    Some values that do not open are counted in the log and skipped.

    Raises:
        NoSecretOpensError: There are values, and none can be used.
        SettingsError: The key's file exists and cannot be used.
    """
    keyring.check_file()
    usable = unreadable = 0
    async with db.transaction() as session:
        async for location, stored in list_stored_values(session):
            if keyring.find_value(stored, location) is None:
                unreadable += 1
            else:
                usable += 1
    if unreadable and not usable:
        raise NoSecretOpensError(keyring.source, unreadable=unreadable)
    if unreadable:
        log.warning("secrets.unreadable", count=unreadable, usable=usable)
