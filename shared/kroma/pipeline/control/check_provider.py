"""Checks a project's key and address for a provider, at no cost."""

from collections.abc import Mapping
from datetime import datetime
from time import perf_counter

import msgspec

from kroma.config import Settings
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.errors import NotFoundError
from kroma.ledger.provider_limits import resume_provider
from kroma.pipeline.control.notify import notify
from kroma.projects.queries import get_project_id
from kroma.projects.slugs import provider_code
from kroma.provider_accounts.access import AccountDisabledError, provider_access
from kroma.providers.base import Provider, ProviderFailedError, ProviderHealth, ProviderKeyRefusedError
from kroma.queue.base import TaskQueue
from kroma.queue.messages import ExecuteJob
from kroma.secrets.errors import SecretUnreadableError
from kroma.secrets.keyring import Keyring


class ProviderNotFoundError(NotFoundError):
    """Kroma has no provider with this code."""

    text = "Provider not found"


class ProviderCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The result of checking a provider."""

    provider_code: str
    health: ProviderHealth
    checked_at: datetime
    latency_ms: int | None
    """None if the provider was not called."""


async def check_provider(
    db: Database,
    queue: TaskQueue,
    keyring: Keyring,
    settings: Settings,
    providers: Mapping[str, Provider],
    *,
    slug: str,
    code: str,
) -> ProviderCheck:
    """Call the provider at no cost; if it works, lift its pause and notify workers of its jobs.

    Raises:
        ProjectNotFoundError: No project has this slug.
        FieldRequiredError: ``code`` cannot be normalized.
        ProviderNotFoundError: No provider has this code.
        MasterKeyFileError: The master key's file cannot be used.
    """
    async with db.reading() as reader:
        project_id = await get_project_id(reader, slug)
    provider = providers.get(provider_code(code))
    if provider is None:
        raise ProviderNotFoundError
    checked_at, latency_ms = utc_now(), None
    try:
        access = await provider_access(db, keyring, settings, provider=provider, project_id=project_id)
    except (ProviderFailedError, SecretUnreadableError) as exc:
        health = _without_access(exc)
    else:
        clock = perf_counter()
        health = await provider.health(access)
        latency_ms = round((perf_counter() - clock) * 1000)
    if health.ok:
        async with db.transaction() as session:
            job_ids = await resume_provider(session, project_id, provider.code)
        await notify(queue, [ExecuteJob(job_id=job_id) for job_id in job_ids])
    return ProviderCheck(
        provider_code=provider.code, health=health, checked_at=checked_at, latency_ms=latency_ms
    )


def _without_access(error: ProviderFailedError | SecretUnreadableError) -> ProviderHealth:
    match error:
        case SecretUnreadableError():
            code = "key_unreadable"
        case ProviderKeyRefusedError():
            code = "key_missing"
        case AccountDisabledError():
            code = "account_disabled"
        case ProviderFailedError(retryable=True):
            code = "unreachable"
        case _:
            code = "address_refused"
    return ProviderHealth(ok=False, code=code, message=error.message)
