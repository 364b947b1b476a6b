"""The dated price list: well-formed, complete, and honest about what is unknown."""

from datetime import date
from decimal import Decimal

import pytest

from kroma.config import OpenAIOptions
from kroma.providers.price_list import InputTokens, PricedModel, Usage, openai_prices, read_usage

MODELS = [pytest.param(model, id=model.name) for model in openai_prices().models]


def test_the_list_has_a_date_sources_and_the_default() -> None:
    prices = openai_prices()
    assert (prices.provider, prices.as_of) == ("openai", date(2026, 11, 23))
    assert all(source.startswith("https://developers.openai.com/") for source in prices.sources)
    default = prices.find(OpenAIOptions().model)
    assert default is not None
    assert OpenAIOptions().size in default.sizes
    assert OpenAIOptions().quality in default.qualities
    assert prices.find("dall-e-1") is None


@pytest.mark.parametrize("model", MODELS)
def test_a_price_is_known_for_every_choice_or_for_none_and_never_nothing(model: PricedModel) -> None:
    estimates = {
        model.estimate(size=size, quality=quality, prompt="ink", pictures=2)
        for size in model.sizes
        for quality in model.qualities
    }
    assert estimates == {None} or (None not in estimates and min(filter(None, estimates)) > 0)


@pytest.mark.parametrize("model", MODELS)
def test_an_estimate_is_no_less_than_what_such_a_call_costs(model: PricedModel) -> None:
    """The tokens that OpenAI counts for a picture drawn: square, portrait, landscape."""
    drawn = {"low": (272, 408, 400), "medium": (1056, 1584, 1568), "high": (4160, 6240, 6208)}
    if model.usd_per_image is None or model.name == "gpt-image-1-mini":
        return
    for quality, tokens in drawn.items():
        for size, output in zip(("1024x1024", "1024x1536", "1536x1024"), tokens, strict=True):
            estimate = model.estimate(size=size, quality=quality, prompt="ink", pictures=1)
            usage = Usage(output, input_tokens_details=InputTokens(text_tokens=2, image_tokens=323))
            cost = model.cost(usage)
            assert estimate is not None
            assert cost is not None
            assert cost <= estimate


def test_a_cost_follows_from_the_tokens() -> None:
    model = openai_prices().find("gpt-image-1")
    assert model is not None
    told_apart = Usage(1_000_000, 3, InputTokens(text_tokens=1_000_000, image_tokens=1_000_000))
    assert model.cost(told_apart) == Decimal(55)
    assert model.cost(Usage(0, input_tokens=1_000_000)) == Decimal(10)


@pytest.mark.parametrize("model", MODELS)
def test_what_a_call_can_use_is_believed_and_what_it_cannot_is_not(model: PricedModel) -> None:
    honest = {"output_tokens": 6240, "input_tokens": 400}
    paid = openai_prices().charged(model, honest, prompt="ink" * 100, pictures=2)
    assert paid is not None
    assert (paid.usd, paid.doubt) == (model.cost(Usage(6240, 400)), None)

    lie = {"output_tokens": 137_500_000}
    doubted = openai_prices().charged(model, lie, prompt="ink", pictures=16)
    assert doubted is not None
    assert doubted.usd is None
    assert doubted.doubt is not None


def test_the_dearest_call_of_a_model_without_a_price_per_picture_follows_from_the_others() -> None:
    model = openai_prices().find("gpt-image-2")
    assert model is not None
    for tokens, is_believed in ((30_000, True), (60_000, False)):
        cost = openai_prices().charged(model, {"output_tokens": tokens}, prompt="ink", pictures=1)
        assert cost is not None
        assert (cost.doubt is None) is is_believed


@pytest.mark.parametrize(
    "raw", [{}, {"output_tokens": "many"}, {"output_tokens": None}], ids=["nothing", "a word", "null"]
)
def test_usage_that_cannot_be_read_is_no_usage(raw: dict[str, object]) -> None:
    assert read_usage(raw) is None
