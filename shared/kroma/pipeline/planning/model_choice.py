"""Which provider, model, size and quality a run is made with: request, then environment, then default."""

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
    """What a run is made with, each part one that the provider offers."""

    provider: str
    model: str
    """Empty takes the provider's only one."""
    size: str | None
    quality: str | None
    max_inputs: int | None
    """How many pictures one call takes; None is any number."""


class UnknownDefaultError(InvalidRequestError):
    """The environment asks for something that the provider does not offer."""

    def __init__(self, variable: str, value: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{variable} '{value}' is unknown; choose one of: {', '.join(allowed)}")


class NotTakenError(InvalidRequestError):
    """The provider has no such choice."""

    def __init__(self, field: str, provider: str) -> None:
        super().__init__(f"Field '{field}' is not taken by provider '{provider}'")


def resolve_model(spec: RunSpec, settings: Settings) -> ModelChoice:
    """Check what was asked for against what the provider offers.

    Raises:
        InvalidRequestError: It does not offer it; the message names the field, or the variable, and
            what there is.
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
