import io
import json
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from PIL import Image

from kroma.config import Settings, SettingsError
from kroma.cpu import CpuPool
from kroma.imaging.codec import decode, verify
from kroma.imaging.errors import UnreadablePictureError
from kroma.providers import PROVIDERS, UnknownProviderError, open_provider, provider_codes
from kroma.providers.base import EditRequest, Provider, ProviderAccess, ProviderFailedError, ProviderPicture
from kroma.providers.fake import GARBAGE, FakeOutcome, FakeProvider, FakeScript
from kroma.providers.local import LocalProvider

SETTINGS = Settings.from_environment({})


def picture(name: str = "scene.png", size: tuple[int, int] = (48, 32)) -> ProviderPicture:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(buffer, format="PNG")
    return ProviderPicture(name=name, data=buffer.getvalue(), mime_type="image/png")


def request(candidate_index: int = 1, name: str = "scene.png") -> EditRequest:
    return EditRequest(
        prompt="ink",
        scene=picture(name),
        styles=(picture("style.png"),),
        stage="style",
        time_of_day="day",
        weather="clear",
        candidate_index=candidate_index,
        seed=9,
    )


def color(data: bytes) -> list[int]:
    return decode(data, name="out").pixels[0, 0].tolist()


@pytest.mark.parametrize("code", provider_codes())
def test_every_provider_fits_the_protocol(code: str) -> None:
    provider = open_provider(code, CpuPool(1), SETTINGS)
    assert isinstance(provider, Provider)
    assert provider.code == code
    offered = provider.capabilities
    assert offered.models == PROVIDERS[code].models()
    assert len({model.name for model in offered.models}) == len(offered.models) > 0
    assert offered.mime_types
    estimate = provider.estimate(request())
    assert (estimate == Decimal(0)) is offered.free
    assert offered.free is not offered.takes_key


@pytest.mark.parametrize("code", provider_codes())
async def test_every_provider_knows_of_no_call_that_it_never_got(code: str) -> None:
    provider = open_provider(code, CpuPool(1), SETTINGS)
    assert await provider.find_call(uuid4(), ProviderAccess(api_key="sk-test")) is None
    assert not provider.capabilities.finds_calls
    await provider.close()


def test_the_default_comes_first() -> None:
    assert provider_codes() == ("local", "openai", "fake")


def test_an_unknown_provider_names_the_choices() -> None:
    with pytest.raises(UnknownProviderError, match=r"'dream'.*local, openai, fake"):
        open_provider("dream", CpuPool(1), SETTINGS)


@pytest.mark.timeout(120)
async def test_the_local_provider_draws_in_a_picture_process() -> None:
    cpu = CpuPool(1)
    try:
        provider = LocalProvider(cpu)
        result = await provider.edit(request())
        header = verify(result.data, name="out")
        assert (header.format, header.width, header.height) == ("PNG", 48, 32)
        assert (result.provider_code, result.cost_usd) == ("local", Decimal(0))
        assert result.parameters["variation"]
        assert (await provider.edit(request())).data == result.data
        assert (await provider.edit(request(2))).data != result.data
        broken = msgspec.structs.replace(
            request(), scene=ProviderPicture(name="bad.png", data=b"text", mime_type="image/png")
        )
        with pytest.raises(UnreadablePictureError, match=r"bad\.png"):
            await provider.edit(broken)
        assert (await provider.edit(request())).data == result.data
        assert (await provider.health(ProviderAccess())).ok
    finally:
        await cpu.close()


async def test_the_fake_answers_a_flat_grey_of_the_scenes_size_and_remembers() -> None:
    fake = FakeProvider()
    first, second = await fake.edit(request(1)), await fake.edit(request(2))
    assert verify(first.data, name="out").width == 48
    assert len(set(color(first.data))) == 1
    assert color(first.data) != color(second.data)
    assert [(call.scene, call.candidate_index) for call in fake.calls] == [("scene.png", 1), ("scene.png", 2)]
    assert first.request_id != second.request_id


async def test_the_first_fitting_outcome_decides() -> None:
    fake = FakeProvider(
        FakeScript(
            outcomes=(
                FakeOutcome(scene="a.png", candidate=1, rgb=(200, 40, 40)),
                FakeOutcome(scene="a", garbage=True),
                FakeOutcome(candidate=2, data=picture(size=(3, 3)).data, cost_usd=Decimal("1.25")),
            ),
            cost_usd=Decimal("0.04"),
        )
    )
    red = await fake.edit(request(1, "scenes/a.png"))
    assert color(red.data) == [200, 40, 40]
    assert red.cost_usd == Decimal("0.04")
    assert (await fake.edit(request(2, "a.png"))).data == GARBAGE
    given = await fake.edit(request(2, "b.png"))
    assert verify(given.data, name="out").width == 3
    assert given.cost_usd == Decimal("1.25")
    assert not fake.capabilities.free


@pytest.mark.parametrize("retryable", [True, False])
async def test_an_error_is_used_up_after_its_times(*, retryable: bool) -> None:
    outcome = FakeOutcome(error="busy", retryable=retryable, times=1)
    fake = FakeProvider(FakeScript(outcomes=(outcome,)))
    with pytest.raises(ProviderFailedError, match="busy") as caught:
        await fake.edit(request())
    assert caught.value.retryable is retryable
    assert verify((await fake.edit(request())).data, name="out").format == "PNG"


async def test_a_script_file_drives_a_fake_in_another_process(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(picture(size=(5, 4)).data)
    script = {
        "cost_usd": "0.04",
        "record": "calls.jsonl",
        "outcomes": [{"scene": "scene", "candidate": 1, "file": "picture.png", "delay_s": 0.001}],
    }
    path = tmp_path / "script.json"
    path.write_text(json.dumps(script))
    fake = FakeProvider.from_environment({"KROMA_FAKE_SCRIPT": str(path)})
    result = await fake.edit(request())
    assert verify(result.data, name="out").width == 5
    lines = (tmp_path / "calls.jsonl").read_text().splitlines()
    assert [json.loads(line)["scene"] for line in lines] == ["scene.png"]


@pytest.mark.parametrize("text", ["{", '{"outcomes": [{"hue": 3}]}', '{"outcomes": [{"rgb": [1, 2, 999]}]}'])
def test_a_bad_script_names_its_variable(tmp_path: Path, text: str) -> None:
    path = tmp_path / "script.json"
    path.write_text(text)
    with pytest.raises(SettingsError, match="KROMA_FAKE_SCRIPT"):
        FakeProvider.from_environment({"KROMA_FAKE_SCRIPT": str(path)})
