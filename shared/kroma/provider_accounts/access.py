"""How a project reaches a provider: its key and its address."""

from typing import Protocol
from uuid import UUID

from kroma.config import Settings
from kroma.db.engine import Database
from kroma.outbound.errors import OutboundError, UrlRefusedError
from kroma.provider_accounts.models import ProviderAccount
from kroma.providers import PROVIDERS
from kroma.providers.base import (
    Provider,
    ProviderAccess,
    ProviderFailedError,
    ProviderKeyRefusedError,
    ProviderRefusedError,
)
from kroma.secrets.keyring import Keyring
from kroma.secrets.service import read_secret

API_KEY = "api_key"
"""The name of the secret."""


class AccessLoader(Protocol):
    """Looks up how a project reaches a provider, each time anew: a key may have been changed since."""

    async def __call__(self, provider: Provider, project_id: UUID) -> ProviderAccess: ...


class MissingKeyError(ProviderKeyRefusedError):
    """Neither the project nor the environment has a key for the provider."""

    code = "provider_key_missing"

    def __init__(self, provider: str) -> None:
        super().__init__(
            provider,
            f"there is no API key: store it as the project's secret {provider}/{API_KEY}, "
            f"or set {key_variable(provider)}",
        )


class KeyNotForAddressError(ProviderKeyRefusedError):
    """The environment has a key, but the project has an address of its own."""

    code = "provider_key_missing"

    def __init__(self, provider: str) -> None:
        super().__init__(
            provider,
            f"the key of {key_variable(provider)} only goes to the provider's own address and to what "
            f"KROMA_URL_ALLOW lists: store the project's own key as its secret {provider}/{API_KEY}",
        )


class AccountDisabledError(ProviderRefusedError):
    """The project's account of the provider is switched off."""

    code = "provider_account_disabled"

    def __init__(self, provider: str) -> None:
        super().__init__(provider, f"the project's provider account '{provider}' is disabled; enable it")


async def provider_access(
    db: Database, keyring: Keyring, settings: Settings, *, provider: Provider, project_id: UUID
) -> ProviderAccess:
    """The key of the project's secret, else of the environment, and the address of its account.

    The environment's key goes to the provider's own address and to what ``KROMA_URL_ALLOW`` lists:
    any other is chosen by whoever may write to the project, and the key is not theirs.

    Raises:
        MissingKeyError: There is no key.
        KeyNotForAddressError: There is one, but not for this address.
        ProviderRefusedError: The address may not be called.
        ProviderFailedError: It has no host now.
        AccountDisabledError: The account is switched off.
        SecretUnreadableError: The project's key does not open.
        MasterKeyFileError: The master key's file cannot be used.
    """
    if not provider.capabilities.takes_key:
        return ProviderAccess()
    code = provider.code
    async with db.transaction() as session:
        account = await session.get(ProviderAccount, (project_id, code))
        if account is not None and not account.enabled:
            raise AccountDisabledError(code)
        key = await read_secret(
            session, keyring, project_id=project_id, provider_code=code, secret_name=API_KEY
        )
    base_url = account.base_url if account is not None else None
    if key is None:
        key = environment_key(settings, code)
        if key is None:
            raise MissingKeyError(code)
        if base_url is not None and base_url.rstrip("/") != provider.capabilities.official_url:
            await _check_listed(settings, code, base_url)
    return ProviderAccess(api_key=key.strip(), base_url=base_url)


def access_loader(db: Database, keyring: Keyring, settings: Settings) -> AccessLoader:
    """``provider_access`` of an installation."""

    async def load(provider: Provider, project_id: UUID) -> ProviderAccess:
        return await provider_access(db, keyring, settings, provider=provider, project_id=project_id)

    return load


async def no_access(provider: Provider, project_id: UUID) -> ProviderAccess:  # noqa: ARG001 - as every loader
    """No key and the provider's own address, for providers that need nothing else."""
    return ProviderAccess()


def environment_key(settings: Settings, code: str) -> str | None:
    """The key that the environment has for a provider."""
    services = {"photoroom": settings.tools.photoroom_key, "removebg": settings.tools.removebg_key}
    kind = PROVIDERS.get(code)
    return services.get(code) if kind is None else kind.environment_key(settings)


def key_variable(code: str) -> str:
    """The environment variable of a provider's key."""
    return "REMOVE_BG_API_KEY" if code == "removebg" else f"{code.upper()}_API_KEY"


async def _check_listed(settings: Settings, code: str, base_url: str) -> None:
    from kroma.outbound.guard import UrlGuard  # noqa: PLC0415 - 15 MB that the API need not carry

    try:
        is_listed = await UrlGuard(settings.url_allow).is_listed(base_url)
    except UrlRefusedError as exc:
        raise ProviderRefusedError(code, exc.message) from exc
    except OutboundError as exc:
        # No refusal of what stands in the account: the name may be found again in a minute.
        raise ProviderFailedError(code, exc.message, retryable=True) from exc
    if not is_listed:
        raise KeyNotForAddressError(code)
