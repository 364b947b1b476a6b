"""The paid provider against its double: what each failure says of the money."""

import io
import tracemalloc
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from PIL import Image

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.providers.base import (
    AnswerLostError,
    AnswerUnusableError,
    EditRequest,
    EditResult,
    ProviderAccess,
    ProviderFailedError,
    ProviderKeyRefusedError,
    ProviderPicture,
    ProviderRefusedError,
)
from kroma.providers.openai import OpenAIProvider
from support.builders.factories import encoded
from support.doubles.openai_double import Fault, OpenAIDouble, gray_blocks

pytestmark = pytest.mark.timeout(60)

KEY = "sk-test-0f3a9c71"


def picture(
    name: str = "scene.png", data: bytes | None = None, mime_type: str = "image/png"
) -> ProviderPicture:
    return ProviderPicture(
        name=name, data=data or gray_blocks(name, width=48, height=64), mime_type=mime_type
    )


def request(double: OpenAIDouble | None = None, *, key: str | None = KEY, **fields: object) -> EditRequest:
    plain = EditRequest(
        prompt="  Ink the harbour \n",
        scene=picture(),
        styles=(picture("ink.png"),),
        stage="style",
        time_of_day="day",
        weather="clear",
        candidate_index=1,
        seed=7,
        call_id=uuid4(),
        access=ProviderAccess(api_key=key, base_url=double.url if double else None),
    )
    return msgspec.structs.replace(plain, **fields)


async def failure(provider: OpenAIProvider, wanted: EditRequest) -> ProviderFailedError:
    with pytest.raises(ProviderFailedError) as caught:
        await provider.edit(wanted)
    text = f"{caught.value!r} {caught.value.__dict__} {caught.value.message}"
    assert wanted.access.api_key is None or wanted.access.api_key not in text
    assert "double refuses" not in text, "the provider's own text"
    return caught.value


async def test_an_edit_sends_the_fields_of_the_specification_and_brings_picture_cost_and_ids(
    provider: OpenAIProvider, double: OpenAIDouble
) -> None:
    wanted = request(double)

    result = await provider.edit(wanted)

    (call,) = double.calls
    assert call.fields == {
        "model": "gpt-image-1",
        "size": "1024x1536",
        "quality": "high",
        "prompt": "Ink the harbour",
        "output_format": "png",
        "input_fidelity": "high",
    }
    assert call.images == [
        ("scene.png", "image/png", wanted.scene.data),
        ("ink.png", "image/png", wanted.styles[0].data),
    ]
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert call.headers["idempotency-key"] == str(wanted.call_id)
    assert "openai-organization" not in call.headers
    (bill,) = double.billed
    assert (bill.idempotency_key, bill.request_id) == (str(wanted.call_id), result.request_id)
    with Image.open(io.BytesIO(result.data)) as made:
        assert made.size == (128, 192)
    assert (result.provider_code, result.model, result.mime_type) == ("openai", "gpt-image-1", "image/png")
    assert result.usage["output_tokens"] == 6240
    # 4 text tokens at 5, 646 picture tokens at 10, 6240 drawn at 40 USD per million.
    assert result.cost_usd == Decimal("0.25608")


async def test_a_request_beats_the_defaults_and_a_model_without_fidelity_is_not_sent_it(
    provider: OpenAIProvider, double: OpenAIDouble
) -> None:
    await provider.edit(request(double, model="gpt-image-1-mini", size="1024x1024", quality="low"))

    fields = double.calls[0].fields
    assert (fields["model"], fields["size"], fields["quality"]) == ("gpt-image-1-mini", "1024x1024", "low")
    assert "input_fidelity" not in fields


async def test_two_calls_never_bring_the_same_picture(provider: OpenAIProvider, double: OpenAIDouble) -> None:
    wanted = request(double)

    assert (await provider.edit(wanted)).data != (await provider.edit(wanted)).data
    assert len(double.billed) == 2


def test_prices_are_upper_bounds_and_unknown_ones_are_said_to_be(provider: OpenAIProvider) -> None:
    one = provider.estimate(request())
    assert one is not None
    assert one > Decimal("0.25")
    assert provider.estimate(request(styles=(picture(), picture()))) > one
    assert provider.estimate(request(model="gpt-image-2.6-sunburst")) is None
    assert provider.estimate(request(model="dall-e-1")) is None


@pytest.mark.parametrize(
    ("fault", "retryable", "is_down", "retry_after", "said"),
    [
        pytest.param(Fault(status=400), False, False, None, "400", id="400"),
        pytest.param(
            Fault(status=400, error_code="moderation_blocked"), False, False, None, "safety", id="moderation"
        ),
        pytest.param(
            Fault(status=400, error_code="See https://evil.example?key"),
            False,
            False,
            None,
            "(400)",
            id="a code that is prose",
        ),
        pytest.param(Fault(status=404), False, False, None, "404", id="404"),
        pytest.param(Fault(status=413), False, False, None, "413", id="413"),
        pytest.param(Fault(status=422), False, False, None, "422", id="422"),
        pytest.param(Fault(status=302), False, False, None, "redirect", id="a redirect"),
        pytest.param(Fault(status=429), True, False, None, "too many", id="429"),
        pytest.param(
            Fault(status=429, retry_after="2.5"),
            True,
            False,
            timedelta(seconds=2.5),
            "too many",
            id="429 with seconds",
        ),
        pytest.param(
            Fault(status=429, retry_after="Mon, 01 Jan 2024 00:00:00 GMT"),
            True,
            False,
            timedelta(),
            "too",
            id="429 with a date",
        ),
        pytest.param(
            Fault(status=429, error_code="insufficient_quota"), False, False, None, "credit", id="no credit"
        ),
        pytest.param(
            Fault(status=500, retry_after="1"), True, True, timedelta(seconds=1), "500", id="its own 500"
        ),
        pytest.param(Fault(status=503), True, True, None, "503", id="its own 503"),
    ],
)
async def test_a_clean_refusal_costs_nothing(
    provider: OpenAIProvider,
    double: OpenAIDouble,
    *,
    fault: Fault,
    retryable: bool,
    is_down: bool,
    retry_after: timedelta | None,
    said: str,
) -> None:
    double.script(fault)

    error = await failure(provider, request(double))

    assert type(error) is ProviderRefusedError
    assert (error.retryable, error.is_down, error.retry_after) == (retryable, is_down, retry_after)
    assert said in error.message
    assert "evil" not in error.message
    assert error.request_id is not None
    assert double.billed == []
    assert len(double.calls) == 1, "the SDK's own retries are off"


@pytest.mark.parametrize(
    ("fault", "billed"),
    [
        pytest.param(Fault(cut="before"), 0, id="reset before the request is read"),
        pytest.param(Fault(cut="during"), 0, id="reset amid the request"),
        pytest.param(Fault(cut="after"), 1, id="reset after acceptance"),
        pytest.param(Fault(cut="half"), 1, id="half an answer"),
        pytest.param(Fault(body="garbage"), 1, id="an answer that is no JSON"),
        pytest.param(Fault(status=502, html=True, billed=True), 1, id="a gateway's 502"),
        pytest.param(Fault(status=504, billed=True), 1, id="a gateway's 504 in JSON"),
        pytest.param(Fault(status=500, html=True, billed=True), 1, id="a 500 that is not its own"),
        pytest.param(Fault(status=524, html=True), 0, id="a proxy that waited too long"),
        pytest.param(Fault(status=202, billed=True), 1, id="another success"),
    ],
)
async def test_an_answer_that_is_lost_may_have_cost_money_and_is_not_asked_for_again(
    provider: OpenAIProvider, double: OpenAIDouble, *, fault: Fault, billed: int
) -> None:
    double.script(fault)

    error = await failure(provider, request(double))

    assert type(error) is AnswerLostError
    assert not error.retryable
    assert len(double.billed) == billed
    assert double.faults == [], "called once"


@pytest.mark.parametrize(
    "fault", [Fault(delay_before_s=30), Fault(delay_after_s=30)], ids=["before", "after"]
)
async def test_an_answer_that_takes_too_long_is_lost(
    cpu: CpuPool, double: OpenAIDouble, *, fault: Fault
) -> None:
    impatient = Settings.from_environment({"KROMA_URL_ALLOW": "127.0.0.1", "KROMA_OPENAI_TIMEOUT_S": "0.3"})
    provider = OpenAIProvider.opened(cpu, impatient)
    await provider._load()  # noqa: SLF001 - the first call's import is no part of what is tested
    double.script(fault)

    error = await failure(provider, request(double))

    assert type(error) is AnswerLostError
    assert "0.3 s" in error.message
    await provider.close()


@pytest.mark.parametrize("body", ["not_base64", "not_an_image", "empty"])
async def test_an_answer_without_a_picture_is_charged(
    provider: OpenAIProvider, double: OpenAIDouble, body: str
) -> None:
    double.script(msgspec.convert({"body": body}, Fault))

    error = await failure(provider, request(double))

    assert type(error) is AnswerUnusableError
    assert (error.cost_usd, error.model) == (Decimal("0.25608"), "gpt-image-1")
    assert error.request_id == double.billed[0].request_id


@pytest.mark.parametrize(
    "usage",
    [
        pytest.param({"output_tokens": 137_500_000_000}, id="5.5 million USD"),
        pytest.param({"output_tokens": 20_000}, id="80 cents"),
        pytest.param({"output_tokens": 10**18}, id="beyond counting"),
        pytest.param({"output_tokens": -6240}, id="less than nothing"),
        pytest.param({"output_tokens": True}, id="no number"),
        pytest.param({"output_tokens": 6240, "input_tokens": -(10**9)}, id="negative input"),
        pytest.param({"output_tokens": 6240, "input_tokens_details": {"image_tokens": 10**9}}, id="input"),
    ],
)
@pytest.mark.parametrize("body", [None, "empty"])
async def test_a_usage_that_no_call_can_have_leaves_the_cost_unknown(
    provider: OpenAIProvider, double: OpenAIDouble, usage: dict[str, Any], body: str | None
) -> None:
    double.script(msgspec.convert({"usage": usage, "body": body}, Fault))

    if body is None:
        charged: EditResult | AnswerUnusableError = await provider.edit(request(double))
    else:
        error = await failure(provider, request(double))
        assert type(error) is AnswerUnusableError
        charged = error

    assert charged.cost_usd is None
    assert charged.cost_doubt is not None


@pytest.mark.parametrize("usage", [{}, {"output_tokens": "many"}, {"output_tokens": None}])
async def test_without_a_usage_the_list_says_what_a_picture_cost(
    provider: OpenAIProvider, double: OpenAIDouble, usage: dict[str, Any]
) -> None:
    double.script(Fault(usage=usage))

    result = await provider.edit(request(double))

    assert (result.cost_usd, result.cost_doubt) == (Decimal("0.25"), None)


async def test_only_counts_are_kept_of_a_usage(provider: OpenAIProvider, double: OpenAIDouble) -> None:
    kept = {"output_tokens": 6240, "input_tokens_details": {"image_tokens": 3}}
    junk = {f"n{number}": "\0" * 1000 for number in range(1000)}
    odd = {"input_tokens_details": {"image_tokens": 3, "x": "\0"}, "Bad Name": 1, "list": [1], **junk}
    double.script(Fault(usage={"output_tokens": 6240, **odd}))

    assert (await provider.edit(request(double))).usage == kept


@pytest.mark.parametrize("key", [None, "sk-bad-key", "sk with blanks", "sk-\r\nX: y", "schlüssel"])
async def test_a_bad_key_is_said_to_be_one(
    provider: OpenAIProvider, double: OpenAIDouble, key: str | None
) -> None:
    error = await failure(provider, request(double, key=key))

    assert type(error) is ProviderKeyRefusedError
    assert not error.retryable
    assert double.billed == []


@pytest.mark.parametrize(
    ("url", "is_down", "said"),
    [
        pytest.param("http://127.0.0.1:9/v1", True, "connection", id="nobody listens"),
        pytest.param("http://10.1.2.3/v1", False, "not public", id="a private address"),
        pytest.param("http://169.254.169.254/v1", False, "not public", id="a cloud's metadata"),
        pytest.param("ftp://127.0.0.1/v1", False, "http://", id="another scheme"),
        pytest.param("http://nobody.invalid/v1", True, "not found", id="a name without an address"),
    ],
)
async def test_what_never_left_is_a_clean_refusal(
    provider: OpenAIProvider, url: str, *, is_down: bool, said: str
) -> None:
    access = ProviderAccess(api_key=KEY, base_url=url)

    error = await failure(provider, request(access=access))

    assert type(error) is ProviderRefusedError
    assert (error.is_down, error.retryable) == (is_down, is_down)
    assert said in error.message


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"prompt": " \n"}, "prompt is empty", id="no prompt"),
        pytest.param({"prompt": "x" * 32001}, "32000 characters", id="a prompt that is too long"),
        pytest.param({"styles": (picture(),) * 16}, "16 pictures", id="too many pictures"),
        pytest.param({"model": "dall-e-1"}, "no model 'dall-e-1'", id="an unknown model"),
    ],
)
async def test_what_the_provider_would_refuse_is_not_sent(
    provider: OpenAIProvider, double: OpenAIDouble, fields: dict[str, object], said: str
) -> None:
    error = await failure(provider, request(double, **fields))

    assert type(error) is ProviderRefusedError
    assert said in error.message
    assert double.calls == []


async def test_inputs_are_converted_turned_and_scaled(provider: OpenAIProvider, double: OpenAIDouble) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = io.BytesIO()
    Image.new("RGB", (40, 20), (200, 30, 30)).save(turned, format="JPEG", exif=exif)
    clear = Image.new("RGBA", (12, 8), (10, 20, 30, 0))
    wide = Image.new("L", (5000, 2000), 90)

    await provider.edit(
        request(
            double,
            scene=picture("scenes/a b.bmp", encoded(Image.new("RGB", (9, 5)), "BMP"), "image/bmp"),
            styles=(
                picture("clear.tif", encoded(clear, "TIFF"), "image/tiff"),
                picture("turned.jpg", turned.getvalue(), "image/jpeg"),
                picture("wide.png", encoded(wide, "PNG")),
            ),
        )
    )

    sent = double.calls[0].images
    assert [(name, mime) for name, mime, _ in sent] == [
        ("a b.png", "image/png"),
        ("clear.png", "image/png"),
        ("turned.png", "image/png"),
        ("wide.png", "image/png"),
    ]
    pictures = [Image.open(io.BytesIO(data)) for _, _, data in sent]
    assert [image.size for image in pictures[:3]] == [(9, 5), (12, 8), (20, 40)]
    assert pictures[1].convert("RGBA").getpixel((0, 0))[3] == 0
    width, height = pictures[3].size
    assert width * height <= 8_294_400
    assert width / height == pytest.approx(2.5, abs=0.01)


@pytest.mark.parametrize(
    ("key", "path", "ok", "code"),
    [
        pytest.param(KEY, "", True, "well", id="well"),
        pytest.param(None, "", False, "key_missing", id="no key"),
        pytest.param("sk-bad", "", False, "key_refused", id="a refused key"),
        pytest.param(KEY, "/elsewhere", False, "failing", id="another path"),
    ],
)
async def test_health_asks_for_the_models_and_is_billed_nothing(
    provider: OpenAIProvider, double: OpenAIDouble, key: str | None, path: str, *, ok: bool, code: str
) -> None:
    health = await provider.health(ProviderAccess(api_key=key, base_url=double.url + path))

    assert (health.ok, health.code) == (ok, code)
    assert key is None or key not in health.message
    assert double.calls == double.billed == []


async def test_health_says_when_the_address_is_refused_or_dead(provider: OpenAIProvider) -> None:
    refused = await provider.health(ProviderAccess(api_key=KEY, base_url="http://10.0.0.1"))
    dead = await provider.health(ProviderAccess(api_key=KEY, base_url="http://127.0.0.1:9"))

    assert (refused.code, dead.code) == ("address_refused", "unreachable")


async def test_a_packed_answer_is_not_unpacked(provider: OpenAIProvider, double: OpenAIDouble) -> None:
    double.script(Fault(body="packed"))

    tracemalloc.start()
    try:
        error = await failure(provider, request(double))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 30 * 1024**2, f"{peak / 1024**2:.0f} MiB for an answer of 64 kB"
    assert type(error) is AnswerLostError
