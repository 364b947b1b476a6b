"""Every tool on every kind of file: the right result, or a clear error."""

import contextlib
import io

import numpy as np
import pytest
from PIL import Image

from kroma.errors import KromaError
from kroma.imaging.errors import PictureError
from kroma.imaging.provenance import State, find_record, state_of
from kroma.postprocess.errors import ToolError
from kroma.tools.errors import LedgerMissingError, SpendNotConfirmedError, WrongOptionError
from kroma.tools.options import (
    BgremoveOptions,
    ColorOptions,
    GenerateOptions,
    QaOptions,
    UpscaleOptions,
    checked,
)
from kroma.tools.runner import Result, Source, ToolRunner
from support.builders import corpus
from support.builders.factories import encoded, png, scene_png

pytestmark = pytest.mark.timeout(60)


async def used(tool_runner: ToolRunner, tool: str, source: Source) -> Result:
    match tool:
        case "color":
            return await tool_runner.color(source, ColorOptions(profile="cold_rain"))
        case "upscale":
            return await tool_runner.upscale(source, UpscaleOptions())
        case "bgremove":
            return await tool_runner.bgremove(source, BgremoveOptions())
        case _:
            return await generated(tool_runner, source, GenerateOptions(provider="local"))


async def generated(tool_runner: ToolRunner, source: Source, options: GenerateOptions) -> Result:
    choice = tool_runner.resolve_model(options, styles=0)
    maker = tool_runner.provider(choice.provider)
    return await tool_runner.generate(source, (), options, provider=maker, choice=choice, index=1)


def sized(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        return image.size


@pytest.mark.parametrize("tool", ["color", "upscale", "generate"])
@pytest.mark.parametrize("name", corpus.GOOD)
async def test_every_good_file_gives_a_picture_that_tells_its_source(
    tool_runner: ToolRunner, tool: str, name: str
) -> None:
    sample = corpus.sample(name)
    result = await used(tool_runner, tool, Source("a", sample.data))
    record = find_record(result.data, name="a")

    scale = 2 if tool == "upscale" else 1
    assert sized(result.data) == (corpus.WIDTH * scale, corpus.HEIGHT * scale)
    assert (result.width, result.height) == sized(result.data)
    assert record is not None
    assert state_of(result.data, record) is State.UNCHANGED
    assert [parent.path for parent in record.parents] == ["a"]
    if sample.alpha and tool != "generate":
        with Image.open(io.BytesIO(result.data)) as image:
            alpha = np.asarray(image.convert("RGBA"))[..., 3]
        assert (alpha[:, 0].min(), alpha[:, -1].max()) == (255, 0)


@pytest.mark.parametrize("tool", ["color", "upscale", "generate", "bgremove"])
@pytest.mark.parametrize("name", corpus.BAD)
async def test_every_bad_file_is_refused_with_a_reason(tool_runner: ToolRunner, tool: str, name: str) -> None:
    with pytest.raises((PictureError, ToolError)) as caught:
        await used(tool_runner, tool, Source("a.png", corpus.sample(name).data))

    assert len(caught.value.message) > 20


@pytest.mark.parametrize("name", corpus.GOOD)
async def test_a_background_is_removed_or_the_tool_says_that_it_is_unsure(
    tool_runner: ToolRunner, name: str
) -> None:
    with contextlib.suppress(ToolError):
        result = await used(tool_runner, "bgremove", Source("a.png", corpus.sample(name).data))
        assert sized(result.data) == (corpus.WIDTH, corpus.HEIGHT)


async def test_a_plain_background_is_removed(tool_runner: ToolRunner) -> None:
    image = Image.new("RGB", (96, 64), (240, 240, 240))
    image.paste((200, 30, 30), (30, 20, 60, 50))
    result = await used(tool_runner, "bgremove", Source("a.png", encoded(image)))
    with Image.open(io.BytesIO(result.data)) as made:
        alpha = np.asarray(made)[..., 3]

    assert (alpha[0, 0], alpha[35, 45]) == (0, 255)
    assert result.details["backend"] == "local"


@pytest.mark.parametrize("name", corpus.SAMPLES)
async def test_qa_judges_every_file(tool_runner: ToolRunner, name: str) -> None:
    sample = corpus.sample(name)
    facts = await tool_runner.facts(QaOptions(), scene=None, styles=())
    report = await tool_runner.check(Source("a.png", sample.data), QaOptions(), facts)

    assert report.has_hard_failures is not sample.is_good
    assert (report.hard_fail_reasons == ["image_read_failed"]) is not sample.is_good


async def test_qa_fails_what_it_is_told_to_fail(tool_runner: ToolRunner) -> None:
    red = Source("a.png", png(64, 96, (200, 20, 20)))

    async def reasons(**given: object) -> list[str]:
        options = checked(QaOptions, given)
        facts = await tool_runner.facts(options, scene=None, styles=())
        return (await tool_runner.check(red, options, facts)).hard_fail_reasons

    assert await reasons() == []
    assert await reasons(enforce_grayscale=True) == ["not_grayscale_like"]
    assert await reasons(fail_on_chroma_exceed="true") == ["chroma_exceeds_threshold"]
    assert [reason[:6] for reason in await reasons(hard=("blank",))] == ["blank:"]
    assert [reason[:6] for reason in await reasons(min_score=0.99)] == ["score:"]
    assert await reasons(enforce_grayscale=True, max_chroma_delta="200") == []


async def test_qa_holds_a_picture_against_its_scene(tool_runner: ToolRunner) -> None:
    scene = Source("scene.png", scene_png(96, 64))
    options = QaOptions(hard=("structure",))
    facts = await tool_runner.facts(options, scene=scene, styles=())
    same = await tool_runner.check(scene, options, facts)
    other = await tool_runner.check(Source("b.png", scene_png(96, 64, seed=9)), options, facts)

    assert same.has_hard_failures is False
    assert (other.quality.score or 0) < (same.quality.score or 0)


async def test_the_same_seed_gives_the_same_picture_and_another_one_does_not(tool_runner: ToolRunner) -> None:
    scene = Source("a.png", scene_png(96, 64))
    first, again, other = [
        find_record((await generated(tool_runner, scene, GenerateOptions(seed=seed))).data, name="a")
        for seed in (1, 1, 2)
    ]

    assert first is not None and again is not None and other is not None  # noqa: PT018 - three of a kind
    assert first.body_sha256 == again.body_sha256 != other.body_sha256


async def test_what_costs_money_wants_a_word_and_a_ledger(tool_runner: ToolRunner) -> None:
    options = GenerateOptions(provider="openai", candidates=2)
    choice = tool_runner.resolve_model(options, styles=0)
    price = tool_runner.price(tool_runner.provider("openai"), options, choice, styles=0, scenes=3)

    assert (price.calls, price.is_free) == (6, False)
    with pytest.raises(SpendNotConfirmedError, match="6 calls of provider 'openai' would cost about"):
        tool_runner.check_spend(price, is_confirmed=False)
    with pytest.raises(LedgerMissingError, match="kroma up"):
        tool_runner.check_spend(price, is_confirmed=True)


async def test_a_background_service_wants_a_word_too(tool_runner: ToolRunner) -> None:
    price = tool_runner.cutout_price(BgremoveOptions(backends=("local", "removebg")), pictures=2)

    assert (price.calls, price.usd) == (2, None)
    with pytest.raises(SpendNotConfirmedError, match="an unknown amount"):
        tool_runner.check_spend(price, is_confirmed=False)
    tool_runner.check_spend(tool_runner.cutout_price(BgremoveOptions(), pictures=2), is_confirmed=False)


@pytest.mark.parametrize(
    ("shape", "given", "problem"),
    [
        pytest.param(ColorOptions, {"profile": "pink"}, "'profile' must be one of", id="a profile"),
        pytest.param(ColorOptions, {"warmth": "1"}, "Unknown field 'warmth'", id="an unknown one"),
        pytest.param(UpscaleOptions, {"scale": "9"}, "'scale'", id="a scale"),
        pytest.param(UpscaleOptions, {"scale": "x"}, "'scale'", id="no number"),
        pytest.param(UpscaleOptions, {"format": "gif"}, "'format'", id="a format"),
        pytest.param(QaOptions, {"hard": ("beauty",)}, "'hard' must be one of", id="a check"),
        pytest.param(GenerateOptions, {"stage": "character"}, "'stage' must be one of", id="a stage"),
        pytest.param(GenerateOptions, {"seed": "-1"}, "'seed'", id="a seed"),
    ],
)
def test_a_wrong_option_is_named(shape: type, given: dict[str, object], problem: str) -> None:
    with pytest.raises(WrongOptionError, match=problem):
        checked(shape, given)


@pytest.mark.parametrize(
    "options",
    [GenerateOptions(provider="none"), GenerateOptions(size="big"), GenerateOptions(quality="high")],
)
def test_what_a_provider_does_not_offer_is_refused_before_anything_is_made(
    tool_runner: ToolRunner, options: GenerateOptions
) -> None:
    with pytest.raises(KromaError):
        tool_runner.resolve_model(options, styles=0)


async def test_an_unknown_backend_is_refused(tool_runner: ToolRunner) -> None:
    with pytest.raises(WrongOptionError, match="backends"):
        tool_runner.cutout_price(BgremoveOptions(backends=("magic",)), pictures=1)
    with pytest.raises(ToolError, match="magic"):
        await tool_runner.upscale(Source("a.png", png()), UpscaleOptions(backend="magic"))
