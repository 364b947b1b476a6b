import numpy as np
import pytest
from PIL import Image, ImageDraw

from kroma.imaging.high_bit_depth import Picture16
from kroma.postprocess.cutout import cut_out
from kroma.postprocess.errors import UnsureError
from support.builders import corpus

WIDTH, HEIGHT = 80, 120
BODY = (20, 50, 60, 110)
INK, SKIN = (24, 20, 30), (210, 150, 90)


def drawn(backdrop: np.ndarray) -> np.ndarray:
    """A figure with a soft outline in front of a backdrop of four times its size."""
    image = Image.fromarray(backdrop)
    draw = ImageDraw.Draw(image)
    draw.rectangle([4 * side for side in BODY], fill=(40, 70, 140), outline=INK, width=8)
    draw.ellipse((100, 60, 220, 200), fill=SKIN, outline=INK, width=8)
    draw.ellipse((130, 110, 150, 130), fill=(250, 250, 250))  # an eye, as white as a page
    return np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))


def flat(*color: int) -> np.ndarray:
    return np.full((4 * HEIGHT, 4 * WIDTH, 3), color, np.uint8)


def sky() -> np.ndarray:
    y, x = np.mgrid[0 : 4 * HEIGHT, 0 : 4 * WIDTH] / (4 * HEIGHT)
    return np.stack([120 + 80 * y + 40 * x, 160 + 40 * y, 200 - 30 * x], axis=-1).astype(np.uint8)


def paper() -> np.ndarray:
    grain = np.random.default_rng(2).normal(0, 9, (4 * HEIGHT, 4 * WIDTH, 3))
    return np.clip(225 + grain, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "backdrop",
    [
        pytest.param(flat(250, 250, 250), id="white"),
        pytest.param(flat(0, 177, 64), id="green screen"),
        pytest.param(sky(), id="gradient"),
        pytest.param(paper(), id="paper"),
    ],
)
def test_a_figure_before_a_simple_backdrop_is_cut_out(backdrop: np.ndarray) -> None:
    pixels = drawn(backdrop)

    found = cut_out(Picture16(pixels))

    alpha = found.picture.pixels[..., 3]
    assert found.confidence > 0.6, found.reason
    assert np.all(alpha[80:105, 25:55] == 255)
    assert np.all(alpha[:8] == 0)
    assert np.all(alpha[:, -8:] == 0)
    assert np.all(alpha[28:31, 34:36] == 255)  # the eye stays
    assert np.array_equal(found.picture.pixels[80:105, 25:55, :3], pixels[80:105, 25:55])
    assert ((alpha > 0) & (alpha < 255)).sum() < 900


def test_the_backdrop_is_taken_out_of_the_colour_of_the_outline() -> None:
    found = cut_out(Picture16(drawn(flat(0, 220, 40)))).picture.pixels.astype(int)

    edge = (found[..., 3] > 20) & (found[..., 3] < 250)
    edge[:52] = False  # along the body, whose outline is ink all around
    greenness = found[..., 1] - (found[..., 0] + found[..., 2]) / 2
    assert edge.sum() > 20
    assert np.percentile(greenness[edge], 90) < 40


@pytest.mark.parametrize(
    ("pixels", "problem"),
    [
        pytest.param(
            np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8),
            "the backdrop's texture is",
            id="noise",
        ),
        pytest.param(
            np.full((HEIGHT, WIDTH, 3), 128, np.uint8),
            "the subject is 0.0% of the picture",
            id="nothing there",
        ),
        pytest.param(
            drawn(
                np.where((np.arange(4 * WIDTH) // 10 % 2)[None, :, None], 230, 120).astype(np.uint8)
                + flat(0, 0, 0)
            ),
            "the border",
            id="stripes",
        ),
        pytest.param(corpus.pixels(), "the border", id="two halves"),
    ],
)
def test_a_backdrop_that_is_not_plain_is_said_and_nothing_is_cut(pixels: np.ndarray, problem: str) -> None:
    with pytest.raises(UnsureError, match=problem) as caught:
        cut_out(Picture16(pixels))

    assert caught.value.code == "backdrop_unsure"


def test_what_hardly_differs_from_its_backdrop_is_said() -> None:
    pixels = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    pixels[30:90, 20:60] = 182

    with pytest.raises(UnsureError, match="the subject hardly differs"):
        cut_out(Picture16(pixels))


def test_a_picture_that_is_cut_out_already_stays_as_it_is() -> None:
    picture = Picture16(corpus.with_alpha())

    found = cut_out(picture)

    assert found.picture is picture
    assert "already cut out" in found.reason


def test_sixteen_bits_and_the_profile_stay() -> None:
    deep = Picture16(drawn(sky()).astype(np.uint16) * 257 + 3, b"profile")

    found = cut_out(deep)

    assert found.picture.is_16_bit
    assert found.picture.icc_profile == b"profile"
    assert np.array_equal(found.picture.pixels[90, 40, :3], deep.pixels[90, 40])
