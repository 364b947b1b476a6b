"""Resolves a run's provider, model, size and quality: request, then environment, then default."""

from typing import Final

import msgspec

from kroma.config import Settings
from kroma.errors import InvalidRequestError, NotOneOfError
from kroma.imaging.restyle.spec import size_px
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.providers import PROVIDERS, provider_codes
from kroma.providers.base import ModelOffer

_VARIABLES: Final = {"model": "MODEL", "size": "SIZE", "quality": "QUALITY"}


class ModelChoice(msgspec.Struct, frozen=True, kw_only=True):
    """A provider, and values that it offers."""

    provider: str
    model: str
    """Empty takes the provider's only model."""
    size: str | None
    quality: str | None
    max_inputs: int | None
    """The most pictures in one call; None is no limit."""


class UnknownDefaultError(InvalidRequestError):
    """An environment variable names something that the provider does not offer."""

    def __init__(self, variable: str, value: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{variable} '{value}' is unknown; choose one of: {', '.join(allowed)}")


class NotTakenError(InvalidRequestError):
    """The provider does not support the field."""

    def __init__(self, field: str, provider: str) -> None:
        super().__init__(f"Field '{field}' is not supported by provider '{provider}'; leave it out")


def resolve_model(spec: RunSpec, settings: Settings) -> ModelChoice:
    """Check the requested values against the provider's.

    Raises:
        InvalidRequestError: The provider does not offer a value; the message names the field or variable
            and the valid values.
    """
    code = spec.provider or settings.provider
    if code not in PROVIDERS:
        if spec.provider is not None:
            raise NotOneOfError("provider", provider_codes())
        raise UnknownDefaultError("KROMA_PROVIDER", code, provider_codes())
    offers = PROVIDERS[code].models()
    defaults = _defaults(settings, code)
    names = tuple(offer.name for offer in offers)
    model = _one_of(code, "model", spec.model, defaults.get("model"), names)
    offer = next((offer for offer in offers if offer.name == model), offers[0])
    return ModelChoice(
        provider=code,
        model=model or "",
        size=_size(code, spec.size, defaults.get("size"), offer),
        quality=_one_of(code, "quality", spec.quality, defaults.get("quality"), offer.qualities),
        max_inputs=offer.max_inputs,
    )


def _defaults(settings: Settings, code: str) -> dict[str, str]:
    if code != "openai":
        return {}
    options = settings.openai
    return {"model": options.model, "size": options.size, "quality": options.quality}


def _size(code: str, asked: str | None, default: str | None, offer: ModelOffer) -> str | None:
    if offer.sizes:
        return _one_of(code, "size", asked, default, offer.sizes)
    if asked is not None:
        size_px(asked)
    return asked


def _one_of(
    code: str, field: str, asked: str | None, default: str | None, allowed: tuple[str, ...]
) -> str | None:
    if asked is not None:
        if not allowed:
            raise NotTakenError(field, code)
        if asked not in allowed:
            raise NotOneOfError(field, allowed)
        return asked
    if default is not None and default not in allowed:
        raise UnknownDefaultError(f"KROMA_{code.upper()}_IMAGE_{_VARIABLES[field]}", default, allowed)
    return default
