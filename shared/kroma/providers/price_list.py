"""What a paid provider offers and asks for it: a data file with a date, never a figure in code."""

import re
from collections.abc import Mapping
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Final, NamedTuple, Self, TypeAlias, cast

import msgspec

from kroma.providers.base import ModelOffer

_MILLION: Final = Decimal(1_000_000)
_STORED: Final = Decimal("0.000001")
"""Costs are stored to the millionth of a dollar."""
_CHARACTERS_PER_TOKEN: Final = 3
"""Fewer than in usual English, so that an estimate is not too low."""
_FRAMING_TOKENS: Final = 100
"""That a service puts around a prompt."""
_MOST_COUNTS: Final = 32
_COUNT: Final = re.compile("[a-z0-9_]{1,64}")


class TokenPrices(msgspec.Struct, frozen=True, kw_only=True):
    """USD per million tokens."""

    text_input: Decimal
    image_input: Decimal
    image_output: Decimal


Tokens: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
"""Far more than a call can have; what is more is no number to compute with."""


class InputTokens(msgspec.Struct, frozen=True):
    """What a call took in, as the provider counted it."""

    text_tokens: Tokens = 0
    image_tokens: Tokens = 0


class Usage(msgspec.Struct, frozen=True):
    """What a call used, as the provider counted it."""

    output_tokens: Tokens
    input_tokens: Tokens = 0
    input_tokens_details: InputTokens | None = None


class ReportedCost(NamedTuple):
    """What a call cost, after its provider's own count."""

    usd: Decimal | None
    """None: it is not known."""
    doubt: str | None = None
    """Why what was reported is not believed."""


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
        content = files("kroma.providers").joinpath("data", f"{provider}_models.json").read_bytes()
        return msgspec.json.decode(content, type=cls)

    def find(self, model: str) -> PricedModel | None:
        return next((known for known in self.models if known.name == model), None)

    def charged(
        self, model: PricedModel, raw: Mapping[str, Any], *, prompt: str, pictures: int
    ) -> ReportedCost | None:
        """What a call cost by the usage that its answer states; None when it states none.

        What no such call can have used is not believed: a provider that is wrong, or one that lies, would
        shut a project's budget by one answer.
        """
        if not isinstance(raw.get("output_tokens"), int):
            return None
        counted = read_usage(raw)
        if counted is None:
            return ReportedCost(None, "its answer states a usage that is none")
        cost, dearest = model.cost(counted), self._dearest(model, prompt=prompt, pictures=pictures)
        if cost is None or dearest is None or cost <= dearest:
            return ReportedCost(cost)
        return ReportedCost(None, f"its answer states {cost} USD, and such a call costs {dearest} at most")

    def _dearest(self, model: PricedModel, *, prompt: str, pictures: int) -> Decimal | None:
        """The most that a call of a model can cost by this list; None when it has no price for it.

        What the list does not say of a model is taken from the dearest of the others.
        """
        tokens = model.usd_per_million_tokens
        if tokens is None:
            return None
        drawn = [usd for sizes in (model.usd_per_image or {}).values() for usd in sizes.values()]
        most_drawn = max(drawn, default=self._most_tokens_per_pixel * _largest(model) * tokens.image_output)
        taken = model.input_tokens_per_picture or max(
            other.input_tokens_per_picture or 0 for other in self.models
        )
        # No token is shorter than a byte.
        text = (len(prompt.encode("utf-8", "replace")) + _FRAMING_TOKENS) * tokens.text_input
        return _rounded(most_drawn + (text + pictures * taken * tokens.image_input) / _MILLION)

    @property
    def _most_tokens_per_pixel(self) -> Decimal:
        """In millions: the dearest picture of the list by its model's price of tokens."""
        return max(
            usd / other.usd_per_million_tokens.image_output / _pixels(size)
            for other in self.models
            if other.usd_per_million_tokens is not None
            for sizes in (other.usd_per_image or {}).values()
            for size, usd in sizes.items()
        )

    def offers(self) -> tuple[ModelOffer, ...]:
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


def kept_usage(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The counts that an answer states, as they are stored: nothing else of it."""
    counts: dict[str, Any] = {}
    for name, value in list(raw.items())[:_MOST_COUNTS]:
        if _COUNT.fullmatch(name) is None:
            continue
        if isinstance(value, dict):
            counts[name] = {
                inner: count
                for inner, count in list(cast("dict[str, Any]", value).items())[:_MOST_COUNTS]
                if _COUNT.fullmatch(inner) and _is_count(count)
            }
        elif _is_count(value):
            counts[name] = value
    return counts


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def read_usage(raw: Mapping[str, Any]) -> Usage | None:
    """The usage that an answer states; None when it does not, or not as it should."""
    try:
        return msgspec.convert(raw, Usage)
    except msgspec.ValidationError:
        return None


def _pixels(size: str) -> int:
    width, _, height = size.partition("x")
    return int(width) * int(height)


def _largest(model: PricedModel) -> int:
    return max(map(_pixels, model.sizes))


def _rounded(usd: Decimal) -> Decimal:
    return usd.quantize(_STORED, rounding=ROUND_HALF_UP)
