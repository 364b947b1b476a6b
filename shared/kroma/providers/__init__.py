"""The providers by their codes. Importing this loads no picture library and no SDK.

``base.py`` is the protocol. To add a provider, copy ``examples/stability_provider.py`` into a module here,
add it to ``PROVIDERS``, and join tests/integration/providers/test_conformance.py (docs/providers.md).
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from kroma.config import Settings, SettingsError
from kroma.cpu import CpuPool
from kroma.errors import InvalidRequestError
from kroma.providers.base import ModelOffer, Provider
from kroma.providers.fake import FakeProvider
from kroma.providers.local import LocalProvider
from kroma.providers.openai import OpenAIProvider


class ProviderKind(NamedTuple):
    """What is known of a provider before it is opened."""

    open: Callable[[CpuPool, Settings], Provider]
    models: Callable[[], tuple[ModelOffer, ...]]
    """What may be asked for; a run that asks for something else is refused when it is planned."""
    environment_key: Callable[[Settings], str | None] = lambda _: None
    """The installation's key, for projects without one of their own."""


PROVIDERS: Final[Mapping[str, ProviderKind]] = {
    "local": ProviderKind(LocalProvider.opened, LocalProvider.models),
    "openai": ProviderKind(OpenAIProvider.opened, OpenAIProvider.models, OpenAIProvider.environment_key),
    "fake": ProviderKind(FakeProvider.opened, FakeProvider.models),
}
"""What ``KROMA_PROVIDER`` and a trigger may name."""


class UnknownProviderError(InvalidRequestError):
    """No provider has this code."""

    code = "unknown_provider"

    def __init__(self, code: str) -> None:
        super().__init__(f"Unknown provider '{code}'; choose one of: {', '.join(provider_codes())}")


def provider_codes() -> tuple[str, ...]:
    """Every code, the default first."""
    return tuple(PROVIDERS)


def check_default(settings: Settings) -> None:
    """See that the provider of triggers that name none exists.

    Raises:
        SettingsError: There is none.
    """
    if settings.provider not in PROVIDERS:
        raise SettingsError(f"KROMA_PROVIDER must be one of: {', '.join(provider_codes())}")


def open_provider(code: str, cpu: CpuPool, settings: Settings) -> Provider:
    """The provider with this code.

    Raises:
        UnknownProviderError: There is none; the message names the choices.
        SettingsError: A setting of its own has a value that cannot be meant.
    """
    kind = PROVIDERS.get(code)
    if kind is None:
        raise UnknownProviderError(code)
    return kind.open(cpu, settings)


def open_providers(cpu: CpuPool, settings: Settings) -> dict[str, Provider]:
    """Every provider, by code; nothing is called or loaded before it is used.

    Raises:
        SettingsError: A setting has a value that cannot be meant.
    """
    return {code: kind.open(cpu, settings) for code, kind in PROVIDERS.items()}
