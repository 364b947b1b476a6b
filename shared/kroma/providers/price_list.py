"""What a paid provider offers and asks for it: a data file with a date, never a figure in code."""

from collections.abc import Mapping
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from importlib.resources import files
from typing import Any, Final, Self

import msgspec

from kroma.providers.base import ModelOffer

_MILLION: Final = Decimal(1_000_000)
_STORED: Final = Decimal("0.000001")
"""Costs are stored to the millionth of a dollar."""
_CHARACTERS_PER_TOKEN: Final = 3
"""Fewer than in usual English, so that an estimate is not too low."""


class TokenPrices(msgspec.Struct, frozen=True, kw_only=True):
    """USD per million tokens."""

    text_input: Decimal
    image_input: Decimal
    image_output: Decimal


class InputTokens(msgspec.Struct, frozen=True):
    """What a call took in, as the provider counted it."""

    text_tokens: int = 0
    image_tokens: int = 0


class Usage(msgspec.Struct, frozen=True):
    """What a call used, as the provider counted it."""

    output_tokens: int
    input_tokens: int = 0
    input_tokens_details: InputTokens | None = None


class PricedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model of the list; None is unknown."""

    name: str
    retired_on: date | None
    """The day from which the provider's own address no longer takes it."""
    sizes: tuple[str, ...]
    qualities: tuple[str, ...]
    input_fidelity: str | None
    """What to send; None sends nothing, for models that do not take the field."""
    usd_per_million_tokens: TokenPrices | None
    usd_per_image: Mapping[str, Mapping[str, Decimal]] | None
    """By quality, then size: the picture that comes out, without what goes in."""
    input_tokens_per_picture: int | None
    """How many tokens a picture that goes in takes, at most."""

    def estimate(self, *, size: str, quality: str, prompt: str, pictures: int) -> Decimal | None:
        """The price of one call in USD, rather too high than too low; None when a part of it is unknown."""
        drawn = (self.usd_per_image or {}).get(quality, {}).get(size)
        tokens = self.usd_per_million_tokens
        if drawn is None or tokens is None or self.input_tokens_per_picture is None:
            return None
        text = (len(prompt) // _CHARACTERS_PER_TOKEN + 1) * tokens.text_input
        shown = pictures * self.input_tokens_per_picture * tokens.image_input
        return _rounded(drawn + (text + shown) / _MILLION)

    def cost(self, usage: Usage) -> Decimal | None:
        """What a call cost in USD; None when the price is unknown.

        Input that the provider does not tell apart counts as pictures, which are dearer than text.
        """
        tokens = self.usd_per_million_tokens
        if tokens is None:
            return None
        taken = usage.input_tokens_details or InputTokens(image_tokens=usage.input_tokens)
        price = (
            taken.text_tokens * tokens.text_input
            + taken.image_tokens * tokens.image_input
            + usage.output_tokens * tokens.image_output
        )
        return _rounded(price / _MILLION)


class PriceList(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider's models, limits and prices on a day."""

    provider: str
    as_of: date
    sources: tuple[str, ...]
    notes: tuple[str, ...]
    max_inputs: int
    """Pictures that one call takes."""
    max_input_bytes: int
    """Of one picture."""
    max_input_pixels: int
    """Of one picture."""
    max_prompt_characters: int
    input_mime_types: tuple[str, ...]
    models: tuple[PricedModel, ...]

    @classmethod
    def loaded(cls, provider: str) -> Self:
        """The list that comes with Kroma."""
        content = files("kroma.providers").joinpath("data", f"{provider}_models.json").read_bytes()
        return msgspec.json.decode(content, type=cls)

    def find(self, model: str) -> PricedModel | None:
        """The model of this name."""
        return next((known for known in self.models if known.name == model), None)

    def offers(self) -> tuple[ModelOffer, ...]:
        """What may be asked for."""
        return tuple(
            ModelOffer(
                name=model.name, sizes=model.sizes, qualities=model.qualities, max_inputs=self.max_inputs
            )
            for model in self.models
        )


@cache
def openai_prices() -> PriceList:
    """OpenAI's list, read once."""
    return PriceList.loaded("openai")


def read_usage(raw: Mapping[str, Any]) -> Usage | None:
    """The usage that an answer states; None when it does not, or not as it should."""
    try:
        return msgspec.convert(raw, Usage)
    except msgspec.ValidationError:
        return None


def _rounded(usd: Decimal) -> Decimal:
    return usd.quantize(_STORED, rounding=ROUND_HALF_UP)
