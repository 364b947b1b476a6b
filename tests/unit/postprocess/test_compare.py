import numpy as np
import pytest
from PIL import Image, ImageFilter

from kroma.imaging.high_bit_depth import Picture16, decode16, encode16
from kroma.postprocess.color import graded
from kroma.postprocess.compare import compare
from kroma.postprocess.enlarge import enlarged
from kroma.postprocess.specs import BUILTIN_PROFILES, Expected
from support.builders import corpus
from support.builders.factories import encoded, scene_png

SOURCE = scene_png(96, 64)
PICTURE = decode16(SOURCE, name="source")


def opened() -> Image.Image:
    return Image.fromarray(PICTURE.pixels)


def cut(*, keep: slice = slice(20, 80)) -> Picture16:
    alpha = np.zeros((64, 96, 1), np.uint8)
    alpha[:, keep] = 255
    return Picture16(np.concatenate([PICTURE.pixels, alpha], axis=2))


@pytest.mark.parametrize("profile", BUILTIN_PROFILES)
def test_an_upscaled_and_graded_picture_is_as_its_source(profile: str) -> None:
    result = graded(enlarged(PICTURE, 2, name="a"), BUILTIN_PROFILES[profile])

    found = compare(SOURCE, encode16(result), Expected(scale=2, is_graded=True))

    assert found.is_good, found.reason
    assert found.structure is not None
    assert found.structure > 0.99


@pytest.mark.parametrize(
    ("result", "expected", "problem"),
    [
        pytest.param(SOURCE, Expected(scale=2), "It has 96x64 pixels, not 192x128", id="size"),
        pytest.param(b"<html>", Expected(), "'result' cannot be read", id="no picture"),
        pytest.param(encoded(opened().rotate(180)), Expected(), "Its structure agrees", id="turned"),
        pytest.param(
            encoded(opened().filter(ImageFilter.GaussianBlur(14))),
            Expected(),
            "Its structure agrees",
            id="lost",
        ),
        pytest.param(
            encoded(Image.fromarray(PICTURE.pixels // 2 + 110)), Expected(), "mean color changed", id="drift"
        ),
        pytest.param(
            encode16(cut(keep=slice(0, 0))), Expected(is_cut_out=True), "subject is lost", id="empty"
        ),
        pytest.param(SOURCE, Expected(is_cut_out=True), "it has no transparency", id="no cut-out"),
    ],
)
def test_what_is_not_its_source_is_said(result: bytes, expected: Expected, problem: str) -> None:
    found = compare(SOURCE, result, expected)

    assert not found.is_good
    assert problem in found.reason


def test_lost_transparency_is_said_but_where_the_format_has_none() -> None:
    source = corpus.sample("alpha_png").data
    flat = encode16(decode16(source, name="a"), "jpg")

    assert compare(source, flat, Expected()).reason == "The source's transparency is lost"
    assert compare(source, flat, Expected(keeps_alpha=False)).is_good


def test_a_cut_out_is_compared_where_it_shows_something() -> None:
    found = compare(SOURCE, encode16(cut()), Expected(is_cut_out=True))

    assert found.is_good, found.reason
    assert found.shown == pytest.approx(60 / 96, abs=0.01)


def test_flat_pictures_have_no_structure_to_lose() -> None:
    gray = encoded(Image.new("RGB", (32, 32), (90, 90, 90)))

    found = compare(gray, gray, Expected())

    assert found.is_good
    assert found.structure is None
