"""Making, changing and deleting provider accounts (contract 3.13); no provider is contacted."""

from typing import NamedTuple
from uuid import UUID

from msgspec import UnsetType
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.audit import service as audit
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.projects.queries import get_project
from kroma.projects.slugs import provider_code
from kroma.provider_accounts.models import ProviderAccount
from kroma.provider_accounts.queries import get_provider_account
from kroma.secrets.on_access_change import AccessChanged, nothing_else
from kroma.texts import name_text, optional_text, require_any, required_name


class ChangedAccount(NamedTuple):
    """An account after a change, and the trail's record of it."""

    account: ProviderAccount
    audit_id: UUID


async def upsert_provider_account(
    db: Database,
    *,
    slug: str,
    code: str | UnsetType,
    display_name: str | None = None,
    account_ref: str | None = None,
    base_url: str | None = None,
    enabled: bool | None = None,
    config_json: object = None,
    actor: UUID | None,
    also: AccessChanged = nothing_else,
) -> ChangedAccount:
    """Create the account, or overwrite it as a whole: what is not given goes back to its default.

    Raises:
        FieldRequiredError: ``code`` is missing or cannot be normalized.
        TextTooLongError: The code or the display name is too long.
        ProjectNotFoundError: No project has this slug.
    """
    checked_code = name_text("provider_code", provider_code(code))
    values: dict[str, object] = {
        "display_name": name_text("display_name", optional_text(display_name) or checked_code),
        "account_ref": optional_text(account_ref),
        "base_url": optional_text(base_url),
        "enabled": enabled is not False,
        "config_json": {} if config_json is None else config_json,
    }
    async with db.transaction() as session:
        project = await get_project(session, slug)
        statement = (
            insert(ProviderAccount)
            .values(project_id=project.id, provider_code=checked_code, **values)
            .on_conflict_do_update(
                index_elements=[ProviderAccount.project_id, ProviderAccount.provider_code],
                set_={**values, "updated_at": utc_now()},
            )
            .returning(ProviderAccount)
        )
        rows = await session.scalars(statement, execution_options={"populate_existing": True})
        account = rows.one()
        audit_id = await _record(session, "upsert", account, actor=actor)
        await also(session, account.project_id, account.provider_code)
    return ChangedAccount(account, audit_id)


async def change_provider_account(
    db: Database,
    *,
    slug: str,
    code: str,
    display_name: str | None = None,
    account_ref: str | None = None,
    base_url: str | None = None,
    enabled: bool | None = None,
    config_json: object = None,
    actor: UUID | None,
    also: AccessChanged = nothing_else,
) -> ChangedAccount:
    """Set the given fields; None keeps one, blank clears ``account_ref`` and ``base_url``.

    Raises:
        NothingGivenError: No field is given.
        FieldRequiredError: ``code`` cannot be normalized, or a given ``display_name`` is blank.
        ProviderAccountNotFoundError: The project or the account is unknown.
    """
    require_any(
        display_name=display_name,
        account_ref=account_ref,
        base_url=base_url,
        enabled=enabled,
        config_json=config_json,
    )
    async with db.transaction() as session:
        account = await get_provider_account(session, slug=slug, code=code, lock=True)
        if display_name is not None:
            account.display_name = required_name(display_name, field="display_name")
        if account_ref is not None:
            account.account_ref = optional_text(account_ref)
        if base_url is not None:
            account.base_url = optional_text(base_url)
        if enabled is not None:
            account.enabled = enabled
        if config_json is not None:
            account.config_json = config_json
        account.updated_at = utc_now()
        audit_id = await _record(session, "update", account, actor=actor)
        await also(session, account.project_id, account.provider_code)
    return ChangedAccount(account, audit_id)


async def delete_provider_account(
    db: Database, *, slug: str, code: str, actor: UUID | None, also: AccessChanged = nothing_else
) -> UUID:
    """Remove an account for good, not its secrets; the id of the trail's record.

    Raises:
        FieldRequiredError: ``code`` cannot be normalized.
        ProviderAccountNotFoundError: The project or the account is unknown.
    """
    async with db.transaction() as session:
        account = await get_provider_account(session, slug=slug, code=code, lock=True)
        await session.delete(account)
        await also(session, account.project_id, account.provider_code)
        return await _record(session, "delete", account, actor=actor)


async def _record(session: AsyncSession, what: str, account: ProviderAccount, *, actor: UUID | None) -> UUID:
    event = await audit.record(
        session,
        code=f"provider_account.{what}",
        project_id=account.project_id,
        actor=actor,
        payload={"provider_code": account.provider_code},
    )
    return event.id
