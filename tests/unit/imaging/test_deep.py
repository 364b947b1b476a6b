import io

import numpy as np
import pytest
from PIL import Image

import corpus
from kroma.imaging.codec import decode
from kroma.imaging.deep import DeepPicture, decode_deep, encode_deep
from kroma.imaging.errors import PictureError
from kroma.imaging.png_text import read_metadata


@pytest.mark.parametrize("name", corpus.GOOD)
def test_every_good_file_keeps_its_bits_alpha_and_profile(name: str) -> None:
    sample = corpus.sample(name)

    picture = decode_deep(sample.data, name=name)

    assert picture.is_deep == sample.deep
    assert picture.size == (corpus.WIDTH, corpus.HEIGHT)
    assert (picture.alpha is not None) == sample.alpha
    assert (picture.icc_profile is not None) == sample.profile
    shown = picture.pixels / picture.top * 255
    # The other reader keeps the upper byte where this one keeps both.
    assert np.abs(shown - decode(sample.data, name=name).pixels).max() <= 1


@pytest.mark.parametrize("name", corpus.BAD)
def test_every_bad_file_is_refused_with_its_name(name: str) -> None:
    with pytest.raises(PictureError, match=f"'{name}'"):
        decode_deep(corpus.sample(name).data, name=name)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_png_keeps_everything(dtype: type, *, alpha: bool) -> None:
    random = np.random.default_rng(5)
    pixels = random.integers(0, np.iinfo(dtype).max + 1, (9, 7, 4 if alpha else 3), dtype)
    profile = corpus.display_profile()

    data = encode_deep(DeepPicture(pixels, profile), metadata={"kroma:run": "r1"})

    again = decode_deep(data, name="again")
    assert np.array_equal(again.pixels, pixels)
    assert again.icc_profile == profile
    assert read_metadata(data)["kroma:run"] == "r1"


def test_a_webp_keeps_alpha_and_profile() -> None:
    profile = corpus.display_profile()

    data = encode_deep(DeepPicture(corpus.with_alpha(), profile), "webp", quality=90)

    again = decode_deep(data, name="again")
    assert again.alpha is not None
    assert np.array_equal(again.alpha, corpus.with_alpha()[..., 3])
    assert again.icc_profile == profile


def test_a_jpeg_lies_on_white_and_keeps_its_profile() -> None:
    profile = corpus.display_profile()
    deep = DeepPicture(corpus.with_alpha().astype(np.uint16) * 257, profile)

    again = decode_deep(encode_deep(deep, "jpg"), name="again")

    assert again.alpha is None
    assert again.icc_profile == profile
    assert again.pixels[16, 46].min() >= 250
    assert np.abs(again.pixels[28, 4].astype(int) - corpus.LEFT).max() <= 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_deep_picture_is_turned_as_its_orientation_says(orientation: int) -> None:
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)

    picture = decode_deep(buffer.getvalue(), name="turned")

    assert np.array_equal(
        picture.pixels[..., 0] >> 8, decode(buffer.getvalue(), name="turned").pixels[..., 0]
    )


def test_a_side_that_the_format_cannot_hold_is_said() -> None:
    with pytest.raises(PictureError, match="a webp file has at most 16383 pixels a side, not 16384"):
        encode_deep(DeepPicture(np.zeros((1, 16384, 3), np.uint8)), "webp")
