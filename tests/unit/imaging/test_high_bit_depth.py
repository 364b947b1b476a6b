import io

import numpy as np
import pytest
from PIL import Image

from kroma.imaging.codec import decode
from kroma.imaging.errors import PictureError
from kroma.imaging.high_bit_depth import Picture16, decode16, encode16
from kroma.imaging.thumbnail import thumbnail
from support.builders import corpus


@pytest.mark.parametrize("name", corpus.GOOD)
def test_every_good_file_keeps_its_bits_alpha_and_profile(name: str) -> None:
    sample = corpus.sample(name)

    picture = decode16(sample.data, name=name)

    assert picture.is_16_bit == sample.deep
    assert picture.size == (corpus.WIDTH, corpus.HEIGHT)
    assert (picture.alpha is not None) == sample.alpha
    assert (picture.icc_profile is not None) == sample.profile
    shown = picture.pixels / picture.top * 255
    # The other reader keeps the upper byte where this one keeps both.
    assert np.abs(shown - decode(sample.data, name=name).pixels).max() <= 1


@pytest.mark.parametrize("name", corpus.BAD)
def test_every_bad_file_is_refused_with_its_name(name: str) -> None:
    with pytest.raises(PictureError, match=f"'{name}'"):
        decode16(corpus.sample(name).data, name=name)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_png_keeps_everything(dtype: type, *, alpha: bool) -> None:
    random = np.random.default_rng(5)
    pixels = random.integers(0, np.iinfo(dtype).max + 1, (9, 7, 4 if alpha else 3), dtype)
    profile = corpus.display_profile()

    data = encode16(Picture16(pixels, profile))

    again = decode16(data, name="again")
    assert np.array_equal(again.pixels, pixels)
    assert again.icc_profile == profile


def test_a_webp_keeps_alpha_and_profile() -> None:
    profile = corpus.display_profile()

    data = encode16(Picture16(corpus.with_alpha(), profile), "webp", quality=90)

    again = decode16(data, name="again")
    assert again.alpha is not None
    assert np.array_equal(again.alpha, corpus.with_alpha()[..., 3])
    assert again.icc_profile == profile


def test_a_jpeg_lies_on_white_and_keeps_its_profile() -> None:
    profile = corpus.display_profile()
    deep = Picture16(corpus.with_alpha().astype(np.uint16) * 257, profile)

    again = decode16(encode16(deep, "jpg"), name="again")

    assert again.alpha is None
    assert again.icc_profile == profile
    assert again.pixels[16, 46].min() >= 250
    assert np.abs(again.pixels[28, 4].astype(int) - corpus.LEFT).max() <= 6


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """What EXIF says an orientation means, by Pillow's words for it."""
    turn = {
        1: lambda shown: shown,
        2: np.fliplr,
        3: lambda shown: np.rot90(shown, 2),
        4: np.flipud,
        5: lambda shown: shown.swapaxes(0, 1),
        6: lambda shown: np.rot90(shown, -1),
        7: lambda shown: np.rot90(shown, 2).swapaxes(0, 1),
        8: np.rot90,
    }
    return turn[orientation](pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_deep_png_is_turned_as_its_orientation_says(orientation: int) -> None:
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = corpus.saved(Image.fromarray(pixels), exif=exif)

    assert np.array_equal(decode16(data, name="turned").pixels[..., 0], turned(pixels, orientation))


@pytest.mark.parametrize("samples", [1, 3, 4])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_deep_tiff_is_turned_once(orientation: int, samples: int) -> None:
    pixels = np.arange(12 * samples, dtype=np.uint16).reshape(3, 4, samples) * 1300
    extra = 2 if samples == 4 else None
    data = corpus.tiff16(pixels, 1 if samples == 1 else 2, extra=extra, orientation=orientation)

    picture = decode16(data, name="turned")

    expected = turned(pixels, orientation)
    assert np.array_equal(picture.pixels, np.repeat(expected, 3, axis=2) if samples == 1 else expected)
    assert np.abs(picture.pixels / 257 - decode(data, name="turned").pixels).max() < 1


def test_a_deep_cmyk_tiff_that_only_the_other_reader_knows_is_turned_once() -> None:
    pixels = np.arange(48, dtype=np.uint16).reshape(3, 4, 4) * 1300
    data = corpus.tiff16(pixels, 5, orientation=6)

    picture = decode16(data, name="turned")

    assert np.array_equal(picture.pixels, decode(data, name="turned").pixels.astype(np.uint16) * 257)
    assert picture.size == (3, 4)


def test_grey_with_zero_for_white_is_no_negative() -> None:
    gray = np.array([[[0], [0x4040], [0xFFFF]]], np.uint16)
    data = corpus.tiff16(gray, 0)

    assert decode16(data, name="negative").pixels[0, :, 0].tolist() == [0xFFFF, 0xBFBF, 0]
    assert decode(data, name="negative").pixels[0, :, 0].tolist() == [255, 191, 0]
    with Image.open(io.BytesIO(thumbnail(data, 3, name="negative"))) as shown:
        assert min(shown.getpixel((0, 0))) >= 250


def test_premultiplied_alpha_becomes_straight() -> None:
    given = [[100, 200, 50, 0x8000], [7, 7, 7, 0], [0xFFFF, 5, 0, 0xFFFF], [0x9000, 0, 0, 0x8000]]
    data = corpus.tiff16(np.array([given], np.uint16), 2, extra=1)

    straight = [[200, 400, 100, 0x8000], [7, 7, 7, 0], [0xFFFF, 5, 0, 0xFFFF], [0xFFFF, 0, 0, 0x8000]]
    assert decode16(data, name="a").pixels[0].tolist() == straight


def test_every_row_of_a_large_premultiplied_picture_becomes_straight() -> None:
    data = corpus.tiff16(np.full((600, 2, 4), 0x4000, np.uint16), 2, extra=1)
    assert (decode16(data, name="a").pixels[..., :3] == 0xFFFF).all()


def test_a_fourth_sample_that_means_nothing_is_no_alpha() -> None:
    data = corpus.tiff16(np.full((2, 2, 4), 9, np.uint16), 2, extra=0)
    assert decode16(data, name="a").pixels.tolist() == [[[9, 9, 9]] * 2] * 2


def test_deep_grey_with_alpha_is_refused_with_its_reason() -> None:
    with pytest.raises(PictureError, match="16-bit gray TIFFs with alpha are not supported"):
        decode16(corpus.sample("deep_grey_alpha_tiff").data, name="a")


def test_a_side_that_the_format_cannot_hold_is_said() -> None:
    with pytest.raises(PictureError, match="a webp file may have at most 16383 pixels per side, not 16384"):
        encode16(Picture16(np.zeros((1, 16384, 3), np.uint8)), "webp")
