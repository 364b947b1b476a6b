"""What every provider must do, whoever wrote it: docs/providers.md, "A provider of your own".

A provider with a wire runs against a double that speaks the service's own wire format over HTTP.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import msgspec
import pytest
from PIL import Image

from kroma.cpu import CpuPool
from kroma.imaging.codec import verify
from kroma.imaging.errors import PictureError, PictureTooLargeError
from kroma.imaging.header import MAX_BYTES, MAX_PIXELS, MIME_TYPES
from kroma.providers.base import (
    AnswerLostError,
    AnswerUnusableError,
    EditRequest,
    EditResult,
    Provider,
    ProviderAccess,
    ProviderFailedError,
    ProviderKeyRefusedError,
    ProviderPicture,
    ProviderRefusedError,
)
from support.builders import corpus
from support.doubles.openai_double import Fault, gray_blocks
from support.harness.provider_subjects import CODES, KEY, Subject, opened

pytestmark = pytest.mark.timeout(60)
Requested = Callable[..., EditRequest]


@pytest.fixture(params=CODES)
async def subject(request: pytest.FixtureRequest, cpu: CpuPool) -> AsyncIterator[Subject]:
    async with opened(request.param, cpu) as found:
        yield found


@pytest.fixture
def requested(subject: Subject) -> Requested:
    return lambda **fields: request_of(subject, **fields)


def request_of(subject: Subject, **fields: object) -> EditRequest:
    plain = EditRequest(
        prompt="Ink the harbour",
        scene=picture("scene.png"),
        styles=(picture("ink.png"),),
        stage="style",
        time_of_day="day",
        weather="clear",
        candidate_index=1,
        seed=7,
        call_id=uuid4(),
        access=subject.access,
    )
    return msgspec.structs.replace(plain, **fields)


def picture(name: str, data: bytes | None = None) -> ProviderPicture:
    data = gray_blocks(name, width=48, height=32) if data is None else data
    return ProviderPicture(name=name, data=data, mime_type="image/png")


def test_it_fits_the_protocol_and_says_what_it_takes(subject: Subject) -> None:
    provider, offered = subject.provider, subject.provider.capabilities
    assert isinstance(provider, Provider)
    assert offered.models == subject.kind.models()
    assert len({model.name for model in offered.models}) == len(offered.models) > 0
    assert set(offered.mime_types) <= set(MIME_TYPES.values())
    assert set(offered.output_mime_types) <= set(MIME_TYPES.values())
    assert 0 < offered.max_input_pixels <= MAX_PIXELS
    assert 0 < offered.max_input_bytes <= MAX_BYTES
    assert offered.takes_key is (offered.official_url is not None)
    assert offered.free or offered.takes_key


def test_an_estimate_is_nothing_for_free_and_a_price_or_unknown_otherwise(
    subject: Subject, requested: Requested
) -> None:
    price = subject.provider.estimate(requested())
    if subject.provider.capabilities.free:
        assert price == Decimal(0)
    else:
        assert price is None or price > 0
    assert subject.arrived() == 0


async def test_an_edit_brings_a_picture_and_what_it_cost(subject: Subject, requested: Requested) -> None:
    provider = subject.provider

    result = await provider.edit(requested())

    header = verify(result.data, name="result")
    assert result.mime_type == header.mime_type
    assert result.mime_type in provider.capabilities.output_mime_types
    assert result.provider_code == provider.code
    assert result.model in {model.name for model in provider.capabilities.models}
    if provider.capabilities.free:
        assert result.cost_usd == Decimal(0)
    else:
        assert result.cost_usd is None or result.cost_usd > 0
        assert subject.charged() == 1
    said = msgspec.json.encode([result.parameters, result.usage, result.request_id])
    assert result.parameters
    assert KEY.encode() not in said


async def test_what_it_calls_deterministic_is(subject: Subject, requested: Requested) -> None:
    first, second, other = [
        (await subject.provider.edit(requested(candidate_index=index))).data for index in (1, 1, 2)
    ]
    assert first != other
    if subject.provider.capabilities.deterministic:
        assert first == second


async def test_too_many_pictures_are_refused_before_anything_is_sent(
    subject: Subject, requested: Requested
) -> None:
    most = subject.provider.capabilities.models[0].max_inputs
    if most is None:
        few = await subject.provider.edit(requested(references=(picture("face.png"),)))
        assert verify(few.data, name="result")
        return
    with pytest.raises(ProviderRefusedError, match=r"picture|reference"):
        await subject.provider.edit(requested(references=(picture("face.png"),) * (most - 1)))
    assert subject.arrived() == subject.charged() == 0


@pytest.mark.parametrize("position", ["scene", "style"])
async def test_every_picture_that_kroma_reads_goes_in(
    subject: Subject, requested: Requested, position: str
) -> None:
    for name in corpus.GOOD:
        given = picture(f"{name}.bin", corpus.sample(name).data)
        asked = requested(scene=given) if position == "scene" else requested(styles=(given,))
        result = await subject.provider.edit(asked)
        assert verify(result.data, name=name).width > 0


@pytest.mark.parametrize("position", ["scene", "style"])
async def test_what_is_no_picture_is_a_clear_error_that_names_the_file_and_costs_nothing(
    subject: Subject, requested: Requested, position: str
) -> None:
    for name in corpus.BAD:
        given = picture(f"{name}.bin", corpus.sample(name).data)
        asked = requested(scene=given) if position == "scene" else requested(styles=(given,))
        outcome = await asyncio.gather(subject.provider.edit(asked), return_exceptions=True)
        if isinstance(outcome[0], EditResult):
            # Who does not look at it says nothing of it; what it answers is a picture none the less.
            assert verify(outcome[0].data, name=name).width > 0
            assert name in ONLY_DECODING_TELLS or not subject.provider.capabilities.takes_key
        else:
            assert isinstance(outcome[0], PictureError), f"{name}: {outcome[0]!r}"
            assert given.name in outcome[0].message
    good = await subject.provider.edit(requested())
    assert verify(good.data, name="after all that").width > 0


ONLY_DECODING_TELLS = frozenset(
    {"truncated_inside_png", "wrong_checksum_png", "lying_png", "wrong_colour_type_png"}
)
UNUSABLE = (AnswerLostError, AnswerUnusableError)
ANSWERS = [
    pytest.param(Fault(body="html"), UNUSABLE, id="a page"),
    pytest.param(Fault(body="nothing"), UNUSABLE, id="nothing"),
    pytest.param(Fault(body="not_an_image"), AnswerUnusableError, id="no picture"),
    pytest.param(Fault(body="tiny"), AnswerUnusableError, id="one pixel"),
    pytest.param(Fault(body="huge"), AnswerUnusableError, id="100 MB"),
    pytest.param(Fault(cut="after"), AnswerLostError, id="a connection that breaks"),
]


@pytest.mark.parametrize(("fault", "kinds"), ANSWERS)
async def test_an_answer_that_is_no_picture_may_have_cost_money_and_is_never_retried(
    subject: Subject, requested: Requested, fault: Fault, kinds: type[ProviderFailedError]
) -> None:
    if subject.script is None:
        return
    error, charged = await failure(subject, requested(), fault)
    assert isinstance(error, kinds)
    assert not error.retryable
    assert charged == 1, "asked once"


REFUSALS = [
    pytest.param(Fault(status=302), ProviderRefusedError, False, id="a redirect"),
    pytest.param(Fault(status=400), ProviderRefusedError, False, id="a bad request"),
    pytest.param(Fault(status=401), ProviderKeyRefusedError, False, id="a refused key"),
    pytest.param(Fault(status=429, retry_after="3"), ProviderRefusedError, True, id="too many calls"),
]


@pytest.mark.parametrize(("fault", "kind", "retryable"), REFUSALS)
async def test_a_refusal_costs_nothing_and_says_whether_to_try_again(
    subject: Subject, requested: Requested, *, fault: Fault, kind: type[ProviderRefusedError], retryable: bool
) -> None:
    if subject.script is None:
        return
    error, charged = await failure(subject, requested(), fault)
    assert type(error) is kind
    assert error.retryable is retryable
    assert charged == 0
    if retryable:
        assert error.retry_after == timedelta(seconds=3)


async def test_a_picture_of_another_format_is_a_picture(subject: Subject, requested: Requested) -> None:
    if subject.script is None:
        return
    subject.script(Fault(body="jpeg"))
    result = await subject.provider.edit(requested())
    assert result.mime_type == "image/jpeg"
    assert verify(result.data, name="result").format == "JPEG"


async def failure(subject: Subject, asked: EditRequest, fault: Fault) -> tuple[ProviderFailedError, int]:
    """What a scripted answer is told as, and how many calls were charged for."""
    subject.script(fault)
    with pytest.raises(ProviderFailedError) as caught:
        await subject.provider.edit(asked)
    error, charged = caught.value, subject.charged()
    text = f"{error!r} {error.__dict__} {error.message}"
    assert KEY not in text
    assert "double" not in text, "the service's own text"
    assert "html" not in error.message
    assert error.message.startswith(f"Provider '{subject.provider.code}' failed: ")
    again = await subject.provider.edit(asked)
    assert verify(again.data, name="the next call").width > 0, "one bad answer breaks nothing"
    return error, charged


async def test_nobody_at_the_address_is_a_clean_refusal(subject: Subject, requested: Requested) -> None:
    if subject.script is None:
        return
    nowhere = ProviderAccess(api_key=KEY, base_url="http://127.0.0.1:9/v1")
    with pytest.raises(ProviderRefusedError) as caught:
        await subject.provider.edit(requested(access=nowhere))
    assert caught.value.is_down
    assert caught.value.retryable
    private = ProviderAccess(api_key=KEY, base_url="http://10.1.2.3/v1")
    with pytest.raises(ProviderRefusedError) as caught:
        await subject.provider.edit(requested(access=private))
    assert not caught.value.retryable


async def test_health_never_raises_and_costs_nothing(subject: Subject) -> None:
    well = await subject.provider.health(subject.access)
    assert (well.ok, well.code) == (True, "well")
    if subject.provider.capabilities.takes_key:
        url = subject.access.base_url
        for access, code in (
            (ProviderAccess(base_url=url), "key_missing"),
            (ProviderAccess(api_key="sk-bad", base_url=url), "key_refused"),
            (ProviderAccess(api_key=KEY, base_url="http://10.0.0.1"), "address_refused"),
            (ProviderAccess(api_key=KEY, base_url="http://127.0.0.1:9"), "unreachable"),
        ):
            health = await subject.provider.health(access)
            assert (health.ok, health.code) == (False, code)
            assert KEY not in health.message
    assert subject.charged() == subject.arrived() == 0


async def test_calls_run_beside_each_other_and_can_be_cancelled(
    subject: Subject, requested: Requested
) -> None:
    calls = [asyncio.create_task(subject.provider.edit(requested(candidate_index=n))) for n in range(1, 5)]
    canceled = asyncio.create_task(subject.provider.edit(requested()))
    await asyncio.sleep(0)
    canceled.cancel()
    made = await asyncio.gather(*calls)
    assert len({result.data for result in made}) == 4
    with pytest.raises(asyncio.CancelledError):
        await canceled


async def test_it_knows_of_no_call_that_it_never_got_and_closes_twice(subject: Subject) -> None:
    if not subject.provider.capabilities.finds_calls:
        assert await subject.provider.find_call(uuid4(), subject.access) is None
    await subject.provider.close()
    await subject.provider.close()


async def test_a_picture_process_keeps_within_its_memory() -> None:
    """What does not fit is refused by name, and the same process draws the next."""
    small = CpuPool(1, memory_limit_bytes=512 * 1024**2)
    wide = io.BytesIO()
    Image.new("L", (2000, 1500), 90).save(wide, format="PNG")
    try:
        async with opened("local", small) as local:
            with pytest.raises(PictureTooLargeError, match=r"'wide\.png'.*memory"):
                await local.provider.edit(request_of(local, scene=picture("wide.png", wide.getvalue())))
            after = await local.provider.edit(request_of(local))
            assert verify(after.data, name="after").width == 48
    finally:
        await small.close()
