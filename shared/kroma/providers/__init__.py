"""The providers by their codes. Importing this loads no picture library."""

from collections.abc import Callable, Mapping
from typing import Final

from kroma.cpu import CpuPool
from kroma.errors import InvalidRequestError
from kroma.providers.base import Provider
from kroma.providers.fake import FakeProvider
from kroma.providers.local import LocalProvider

PROVIDERS: Final[Mapping[str, Callable[[CpuPool], Provider]]] = {
    "local": LocalProvider,
    "fake": FakeProvider.from_environment,
}
"""What ``KROMA_PROVIDER`` may name, and how each is opened."""


class UnknownProviderError(InvalidRequestError):
    """No provider has this code."""

    code = "unknown_provider"

    def __init__(self, code: str) -> None:
        super().__init__(f"Unknown provider '{code}'; choose one of: {', '.join(provider_codes())}")


def provider_codes() -> tuple[str, ...]:
    """Every code, the default first."""
    return tuple(PROVIDERS)


def open_provider(code: str, cpu: CpuPool) -> Provider:
    """The provider with this code.

    Raises:
        UnknownProviderError: There is none; the message names the choices.
    """
    factory = PROVIDERS.get(code)
    if factory is None:
        raise UnknownProviderError(code)
    return factory(cpu)


def open_providers(cpu: CpuPool) -> dict[str, Provider]:
    """Every provider, by code; nothing is called or loaded before it is used."""
    return {code: make(cpu) for code, make in PROVIDERS.items()}
