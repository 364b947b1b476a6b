"""One conformance suite over every tool, free, installed or paid; and the corpus through each of them."""

import io
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kroma.allow_list import AllowList
from kroma.config import ToolOptions
from kroma.cpu import CpuPool
from kroma.imaging.errors import PictureError
from kroma.imaging.high_bit_depth import decode16
from kroma.postprocess.base import BackgroundRemover, Upscaler
from kroma.postprocess.errors import ToolError, ToolMissingError, ToolTimedOutError
from kroma.postprocess.installed import CUTOUT_BACKENDS, missing_tools
from kroma.postprocess.specs import BUILTIN_PROFILES, ColorSpec, CutoutSpec, Made, PlannedTools, UpscaleSpec
from kroma.postprocess.toolbox import Toolbox, service_request
from kroma.providers.base import (
    AnswerLostError,
    AnswerUnusableError,
    ProviderAccess,
    ProviderFailedError,
    ProviderKeyRefusedError,
    ProviderRefusedError,
)
from support.builders import corpus
from support.doubles import tool_programs
from support.doubles.cutout_double import CutoutDouble, Fault

pytestmark = pytest.mark.timeout(60)

UPSCALED = [
    *(pytest.param("lanczos", name, id=f"lanczos {name}") for name in corpus.GOOD),
    # A program of its own for each file would take a minute.
    *(
        pytest.param("realesrgan-ncnn", name, id=f"realesrgan {name}")
        for name in ("alpha_png", "deep_alpha_png", "profile_jpeg", "cmyk_jpeg", "exif_rotated_jpeg")
    ),
    pytest.param("python", "png", id="the contract's python"),
    pytest.param("ncnn", "png", id="the contract's ncnn"),
]
BAD_ANSWERS = [
    pytest.param("leaves nothing", "succeeded but wrote no picture", id="nothing"),
    pytest.param("writes rubbish", r"not a usable picture \(unreadable_picture\)", id="rubbish"),
    pytest.param("writes a link", "its output is not a regular file", id="link"),
    pytest.param("wrong size", "pixels", id="another size"),
    pytest.param("fails", "ended with code 255: vkCreateInstance failed -9", id="its own failure"),
]


def options(folder: Path, behavior: str = "") -> ToolOptions:
    binary, models = tool_programs.realesrgan(folder, behavior)
    return ToolOptions(
        realesrgan=binary,
        realesrgan_models=models,
        rembg=str(tool_programs.rembg(folder, behavior)),
        service_timeout=timedelta(seconds=20),
    )


@pytest.fixture
async def tools(cpu: CpuPool, tmp_path: Path) -> AsyncIterator[Toolbox]:
    toolbox = Toolbox(cpu, options(tmp_path), url_allow=AllowList.parsed(["127.0.0.0/8"]))
    yield toolbox
    await toolbox.close()


def access(double: CutoutDouble, key: str = "good-key") -> dict[str, ProviderAccess]:
    return {
        code: ProviderAccess(api_key=key, base_url=f"{double.url}/{code}")
        for code in ("photoroom", "removebg")
    }


async def cut_out(
    tools: Toolbox, data: bytes, spec: CutoutSpec, access: dict[str, ProviderAccess], *, name: str = "a"
) -> Made:
    """By the one backend of the spec, as the pipeline calls it, without the ledger."""
    (backend,) = spec.backends
    if backend in tools.removers:
        return await tools.remover(backend).remove(data, spec, name=name)
    request = service_request(await tools.service_picture(data, name=name), access=access[backend])
    result = await tools.services[backend].of_spec(spec).edit(request)
    return await tools.finish_service(data, result.data, spec, backend)


def subject() -> bytes:
    """Something dark on a plain light ground; its left half is all of it."""
    pixels = np.full((60, 40, 3), 240, np.uint8)
    pixels[15:45, 8:20] = (40, 30, 90)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", icc_profile=corpus.display_profile())
    return buffer.getvalue()


# Upscaling.


@pytest.mark.parametrize(("backend", "name"), UPSCALED)
async def test_every_upscaler_doubles_every_good_file_and_keeps_what_it_holds(
    tools: Toolbox, backend: str, name: str
) -> None:
    sample = corpus.sample(name)

    made = await tools.upscale(sample.data, UpscaleSpec(backend=backend), name=name)

    after = decode16(made.data, name="made")
    assert isinstance(tools.upscaler(backend), Upscaler)
    assert after.size == (made.width, made.height) == (2 * corpus.WIDTH, 2 * corpus.HEIGHT)
    assert (after.alpha is not None) == sample.alpha
    assert (after.icc_profile is not None) == sample.profile
    assert after.is_16_bit == (sample.deep and backend in {"lanczos", "python"})
    before = decode16(sample.data, name=name)
    for x, y in ((12, 24), (30, 20)):
        off = after.pixels[2 * y, 2 * x] / after.top - before.pixels[y, x] / before.top
        assert np.abs(off).max() < 0.03


@pytest.mark.parametrize("backend", ["lanczos", "realesrgan-ncnn"])
@pytest.mark.parametrize("name", corpus.BAD)
async def test_every_upscaler_refuses_every_bad_file_by_its_name(
    tools: Toolbox, backend: str, name: str
) -> None:
    with pytest.raises(PictureError, match=f"'{name}'"):
        await tools.upscale(corpus.sample(name).data, UpscaleSpec(backend=backend), name=name)


@pytest.mark.parametrize("kind", ["jpg", "webp"])
async def test_an_upscaler_writes_the_format_asked_for(tools: Toolbox, kind: str) -> None:
    spec = UpscaleSpec(format=kind, quality=80, scale=3)

    made = await tools.upscale(corpus.sample("alpha_png").data, spec, name="a")

    assert made.mime_type == ("image/jpeg" if kind == "jpg" else "image/webp")
    assert decode16(made.data, name="made").size == (3 * corpus.WIDTH, 3 * corpus.HEIGHT)


async def test_a_transparent_border_does_not_darken_what_is_enlarged(tools: Toolbox) -> None:
    pixels = corpus.with_alpha()
    pixels[:, corpus.CLEAR_FROM :, :3] = 0
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")

    made = await tools.upscale(buffer.getvalue(), UpscaleSpec(scale=4), name="a")

    after = decode16(made.data, name="made").pixels
    seen = after[..., 3] > 100
    seen[:, : 4 * (corpus.WIDTH // 2 + 4)] = False
    assert np.abs(after[seen][:, :3].astype(int) - corpus.RIGHT).max() <= 2


async def test_what_would_be_too_large_is_refused_before_it_is_made(tools: Toolbox) -> None:
    with pytest.raises(
        PictureError, match="255 times as large, it would have 12240x8160 pixels; the limit is 64"
    ):
        await tools.upscale(corpus.sample("png").data, UpscaleSpec(scale=255), name="a")


@pytest.mark.parametrize(("behavior", "problem"), BAD_ANSWERS)
async def test_a_program_that_does_not_do_its_work_is_named_with_the_reason(
    cpu: CpuPool, tmp_path: Path, behavior: str, problem: str
) -> None:
    broken = Toolbox(cpu, options(tmp_path, behavior))

    with pytest.raises(ToolError, match=f"'realesrgan-ncnn' failed: .*{problem}"):
        await broken.upscale(corpus.sample("png").data, UpscaleSpec(backend="ncnn"), name="a")
    with pytest.raises(ToolError, match=f"'rembg' failed: .*{problem}"):
        await broken.remover("rembg").remove(subject(), CutoutSpec(), name="a")


async def test_an_upscaler_that_loses_alpha_gets_it_back(cpu: CpuPool, tmp_path: Path) -> None:
    careless = Toolbox(cpu, options(tmp_path, "loses alpha"))

    made = await careless.upscale(corpus.sample("alpha_png").data, UpscaleSpec(backend="ncnn"), name="a")

    alpha = decode16(made.data, name="made").alpha
    assert alpha is not None
    assert (int(alpha[30, 10]), int(alpha[30, 90])) == (255, 0)


async def test_a_program_that_hangs_is_killed_with_all_it_started(cpu: CpuPool, tmp_path: Path) -> None:
    slow = options(tmp_path, "hangs")
    slow = ToolOptions(
        realesrgan=slow.realesrgan,
        realesrgan_models=slow.realesrgan_models,
        command_timeout=timedelta(seconds=0.5),
    )

    with pytest.raises(ToolTimedOutError, match=r"longer than 0\.5 s") as caught:
        await Toolbox(cpu, slow).upscale(corpus.sample("png").data, UpscaleSpec(backend="ncnn"), name="a")

    assert caught.value.retryable


async def test_a_program_is_told_no_secret(
    cpu: CpuPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("KROMA_DATABASE_URL", "postgresql://secret")
    teller = Toolbox(cpu, options(tmp_path, "tells its environment"))

    with pytest.raises(ToolError, match=r"ended with code 3: \['PATH'\]"):
        await teller.upscale(corpus.sample("png").data, UpscaleSpec(backend="ncnn"), name="a")


# Backgrounds.


@pytest.mark.parametrize("backend", CUTOUT_BACKENDS)
async def test_every_remover_keeps_the_subject_its_size_and_its_colour_space(
    tools: Toolbox, double: CutoutDouble, backend: str
) -> None:
    spec = CutoutSpec(backends=(backend,))

    made = await cut_out(tools, subject(), spec, access(double))

    after = decode16(made.data, name="made")
    assert after.size == (40, 60)
    assert after.icc_profile is not None
    assert after.alpha is not None
    assert int(after.alpha[30, 14]) == 255
    assert int(after.alpha[30, 35]) == 0
    assert np.abs(after.pixels[30, 14, :3].astype(int) - (40, 30, 90)).max() <= 2
    if backend in tools.removers:
        assert isinstance(tools.remover(backend), BackgroundRemover)


@pytest.mark.parametrize("backend", CUTOUT_BACKENDS)
@pytest.mark.parametrize("name", corpus.BAD)
async def test_every_remover_refuses_every_bad_file_by_its_name(
    tools: Toolbox, double: CutoutDouble, backend: str, name: str
) -> None:
    spec = CutoutSpec(backends=(backend,))

    with pytest.raises(PictureError, match=f"'{name}'"):
        await cut_out(tools, corpus.sample(name).data, spec, access(double), name=name)
    assert double.billed == 0


@pytest.mark.parametrize(
    "name", ["deep_png", "deep_alpha_png", "cmyk_jpeg", "exif_rotated_jpeg", "one_bit_png"]
)
async def test_a_service_is_sent_what_it_can_read_and_the_source_keeps_its_bits(
    tools: Toolbox, double: CutoutDouble, name: str
) -> None:
    sample = corpus.sample(name)

    spec = CutoutSpec(backends=("photoroom",))
    made = await cut_out(tools, sample.data, spec, access(double), name=name)

    assert double.calls[0].file[2].startswith(b"\x89PNG")
    after = decode16(made.data, name="made")
    assert after.is_16_bit == sample.deep
    assert after.size == (corpus.WIDTH, corpus.HEIGHT)


@pytest.mark.parametrize("backend", ["photoroom", "removebg"])
async def test_a_service_gets_the_form_that_it_documents(
    tools: Toolbox, double: CutoutDouble, backend: str
) -> None:
    spec = CutoutSpec(backends=(backend,), size="preview", crop=True)

    await cut_out(tools, subject(), spec, access(double))

    call = double.calls[0]
    assert call.path == f"/{backend}"
    assert call.headers["x-api-key"] == "good-key"
    assert call.fields == {"format": "png", "size": "preview", "crop": "true"}
    assert call.file[:2] == ("picture.png", "image/png")


async def test_the_size_auto_and_no_crop_are_not_sent(tools: Toolbox, double: CutoutDouble) -> None:
    spec = CutoutSpec(backends=("removebg",))

    await cut_out(tools, subject(), spec, access(double))

    assert double.calls[0].fields == {"format": "png"}


async def test_a_smaller_cut_out_of_the_same_framing_lends_its_matte_to_the_source(
    tools: Toolbox, double: CutoutDouble
) -> None:
    double.script(Fault(shape="half"))

    spec = CutoutSpec(backends=("removebg",))
    made = await cut_out(tools, subject(), spec, access(double))

    after = decode16(made.data, name="made").pixels
    assert after.shape == (60, 40, 4)
    assert after[30, 14].tolist() == [40, 30, 90, 255]


@pytest.mark.parametrize(
    ("fault", "error", "charged"),
    [
        pytest.param({"body": b"<html>502</html>"}, AnswerUnusableError, True, id="html"),
        pytest.param({"body": b""}, AnswerUnusableError, True, id="empty"),
        pytest.param({"body": corpus.sample("animated_gif").data}, AnswerUnusableError, True, id="gif"),
        pytest.param({"body": bytes(70 * 1024**2)}, AnswerUnusableError, True, id="70 MB"),
        pytest.param({"shape": "tiny"}, ToolError, True, id="one pixel"),
        pytest.param({"shape": "other"}, ToolError, True, id="another framing"),
        pytest.param({"shape": "opaque"}, ToolError, True, id="no transparency"),
        pytest.param({"shape": "empty"}, ToolError, True, id="nothing left"),
        pytest.param({"shape": "jpeg"}, ToolError, True, id="jpeg"),
        pytest.param(
            {"status": 302, "headers": {"Location": "http://169.254.169.254/"}},
            ProviderRefusedError,
            False,
            id="redirect",
        ),
        pytest.param({"status": 400}, ProviderRefusedError, False, id="400"),
        pytest.param({"status": 402}, ProviderRefusedError, False, id="no credit"),
        pytest.param({"status": 429, "headers": {"Retry-After": "7"}}, ProviderRefusedError, False, id="429"),
        pytest.param({"status": 503}, AnswerLostError, False, id="503"),
        pytest.param({"cut": "before"}, AnswerLostError, False, id="cut before"),
        pytest.param({"cut": "after"}, AnswerLostError, True, id="cut after"),
    ],
)
@pytest.mark.parametrize("backend", ["photoroom", "removebg"])
async def test_what_a_service_answers_is_told_apart_by_what_it_means_for_the_money(
    tools: Toolbox,
    double: CutoutDouble,
    backend: str,
    fault: dict[str, object],
    error: type,
    *,
    charged: bool,
) -> None:
    double.script(Fault(**fault))
    spec = CutoutSpec(backends=(backend,))

    with pytest.raises((ToolError, ProviderFailedError)) as caught:
        await cut_out(tools, subject(), spec, access(double))

    if error is not ToolError:
        assert type(caught.value) is error
    assert backend in caught.value.message
    assert double.billed == charged
    if fault.get("status") == 429:
        assert caught.value.retry_after == timedelta(seconds=7)


async def test_a_refused_key_is_said_without_the_key(tools: Toolbox, double: CutoutDouble) -> None:
    with pytest.raises(ProviderKeyRefusedError) as caught:
        await cut_out(tools, subject(), CutoutSpec(backends=("removebg",)), access(double, "bad-secret-key"))

    assert "bad-secret" not in caught.value.message


async def test_an_address_that_is_not_public_is_not_called(cpu: CpuPool, double: CutoutDouble) -> None:
    strict = Toolbox(cpu)

    with pytest.raises(ProviderRefusedError, match="The address is refused"):
        await cut_out(strict, subject(), CutoutSpec(backends=("removebg",)), access(double))
    await strict.close()
    assert double.calls == []


# Color.


@pytest.mark.parametrize("profile", BUILTIN_PROFILES)
@pytest.mark.parametrize("name", corpus.GOOD)
async def test_colour_keeps_size_bits_alpha_and_profile_of_every_good_file(
    tools: Toolbox, name: str, profile: str
) -> None:
    sample = corpus.sample(name)

    made = await tools.grade(sample.data, ColorSpec(values=BUILTIN_PROFILES[profile]), name=name)

    after = decode16(made.data, name="made")
    assert made.mime_type == "image/png"
    assert after.size == (corpus.WIDTH, corpus.HEIGHT)
    assert after.is_16_bit == sample.deep
    assert (after.alpha is not None) == sample.alpha
    assert (after.icc_profile is not None) == sample.profile


@pytest.mark.parametrize("name", corpus.BAD)
async def test_colour_refuses_every_bad_file_by_its_name(tools: Toolbox, name: str) -> None:
    with pytest.raises(PictureError, match=f"'{name}'"):
        await tools.grade(corpus.sample(name).data, ColorSpec(), name=name)


# What is missing.


async def test_what_is_missing_is_said_with_what_to_install(cpu: CpuPool, tmp_path: Path) -> None:
    bare = ToolOptions(
        realesrgan=tmp_path / "ncnn", realesrgan_models=tmp_path / "models", rembg=str(tmp_path / "rembg")
    )
    tools = PlannedTools(cutout=CutoutSpec(backends=("rembg",)), upscale=UpscaleSpec(backend="ncnn"))

    cutout, upscale = missing_tools(tools, bare)

    assert "pip install 'rembg[cpu,cli]'" in cutout
    assert "KROMA_REMBG_BIN" in cutout
    assert f"put the program at {tmp_path}/ncnn, or set KROMA_REALESRGAN_BIN" in upscale
    with pytest.raises(ToolMissingError, match="KROMA_REALESRGAN_BIN"):
        await Toolbox(cpu, bare).upscale(corpus.sample("png").data, UpscaleSpec(backend="ncnn"), name="a")


def test_nothing_is_missing_where_another_backend_can_be_tried(tmp_path: Path) -> None:
    bare = ToolOptions(rembg=str(tmp_path / "rembg"))

    assert missing_tools(PlannedTools(cutout=CutoutSpec(backends=("rembg", "local"))), bare) == []


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        pytest.param(UpscaleSpec(backend="ncnn", scale=5), "upscale.scale to 2, 3 or 4, not 5", id="scale"),
        pytest.param(UpscaleSpec(backend="ncnn", model="other"), "installed: realesrgan-x4plus", id="model"),
        pytest.param(UpscaleSpec(backend="ncnn", model="../x"), "put the model '../x'", id="path"),
    ],
)
def test_what_the_program_cannot_do_is_missing(tmp_path: Path, spec: UpscaleSpec, problem: str) -> None:
    (missing,) = missing_tools(PlannedTools(upscale=spec), options(tmp_path))

    assert problem in missing


async def test_a_picture_that_needs_more_memory_than_a_process_has_is_said_to_be_too_large() -> None:
    narrow = CpuPool(1, memory_limit_bytes=900 * 1024**2)
    large = corpus.png_of(3900, 4000, bytes((1 + 3900 * 3) * 4000))
    try:
        with pytest.raises(
            PictureError, match=r"'large' is too large: .*needs more memory than is available"
        ):
            await Toolbox(narrow).upscale(large, UpscaleSpec(scale=2), name="large")
        made = await Toolbox(narrow).upscale(corpus.sample("png").data, UpscaleSpec(), name="small")
    finally:
        await narrow.close()
    assert made.width == 2 * corpus.WIDTH
