import io
import pickle

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from kroma.imaging.codec import decode, encode_png, verify
from kroma.imaging.errors import (
    PictureError,
    PictureTooLargeError,
    TruncatedPictureError,
    UnreadablePictureError,
)


def saved(image: Image.Image, fmt: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=fmt, **options)
    return buffer.getvalue()


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "TIFF"])
def test_alpha_survives(fmt: str) -> None:
    image = Image.new("RGBA", (4, 3), (255, 0, 0, 0))
    image.putpixel((1, 1), (10, 20, 30, 128))
    options = {"lossless": True, "exact": True} if fmt == "WEBP" else {}
    picture = decode(saved(image, fmt, **options), name="a")
    assert picture.pixels.shape == (3, 4, 4)
    assert picture.pixels[1, 1].tolist() == [10, 20, 30, 128]
    again = decode(encode_png(picture), name="a")
    assert np.array_equal(again.pixels, picture.pixels)


def test_the_colour_profile_survives() -> None:
    profile = srgb_profile()
    picture = decode(saved(Image.new("RGB", (2, 2)), icc_profile=profile), name="a")
    assert decode(encode_png(picture), name="a").icc_profile == profile


def test_exif_orientation_is_applied() -> None:
    image = Image.new("RGB", (3, 2), "black")
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    picture = decode(saved(image, exif=exif), name="a")
    assert picture.pixels.shape == (3, 2, 3)
    assert picture.pixels[0, 1].tolist() == [255, 255, 255]


def test_palette_with_transparency_gives_alpha() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    pixels = decode(saved(image, transparency=0), name="a").pixels
    assert pixels.tolist() == [[[255, 0, 0, 0], [0, 0, 255, 255]]]


def test_one_bit_becomes_black_and_white() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert decode(saved(image), name="a").pixels.tolist() == [[[0, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize("fmt", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(fmt: str) -> None:
    values = np.array([[0, 0x8080, 0xFFFF]], dtype=np.uint16)
    pixels = decode(saved(Image.fromarray(values), fmt), name="a").pixels
    assert pixels[0, :, 0].tolist() == [0, 128, 255]


def test_cmyk_becomes_rgb() -> None:
    pixels = decode(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95), name="a").pixels
    assert pixels.shape == (8, 8, 3)
    red, green, blue = pixels[4, 4]
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize("fmt", ["WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(fmt: str) -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    data = saved(frames[0], fmt, save_all=True, append_images=frames[1:], duration=50, lossless=True)
    assert verify(data, name="a").width == 4
    assert decode(data, name="a").pixels[0, 0, :3].tolist() == [255, 0, 0]


def test_a_gif_named_png_is_refused() -> None:
    with pytest.raises(UnreadablePictureError, match="GIF"):
        decode(saved(Image.new("P", (4, 4)), "GIF"), name="a.png")


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_a_whole_picture_verifies(fmt: str) -> None:
    header = verify(saved(Image.effect_noise((64, 48), 60).convert("RGB"), fmt), name="a")
    assert (header.format, header.width, header.height) == (fmt, 64, 48)


def test_a_hole_before_an_intact_end_is_found_by_decoding() -> None:
    data = saved(Image.effect_noise((256, 256), 60))
    middle = len(data) // 2
    with pytest.raises(PictureError, match=r"scene\.png"):
        verify(data[: middle - 2000] + data[middle + 2000 :], name="scene.png")


def test_a_flipped_bit_in_a_png_is_found() -> None:
    data = bytearray(saved(Image.effect_noise((64, 64), 60)))
    data[len(data) // 2] ^= 1
    with pytest.raises(UnreadablePictureError):
        verify(bytes(data), name="a")


def test_every_prefix_and_random_damage_is_our_error_or_a_picture() -> None:
    rng = np.random.default_rng(1)
    for fmt in ("PNG", "JPEG", "WEBP", "BMP", "TIFF"):
        data = saved(Image.effect_noise((24, 24), 60).convert("RGB"), fmt)
        for _ in range(60):
            damaged = bytearray(data)
            for position in rng.integers(0, len(data), 6):
                damaged[position] = int(rng.integers(0, 256))
            cut = bytes(damaged[: int(rng.integers(1, len(data) + 1))])
            try:
                decode(cut, name="a")
            except PictureError:
                continue


def test_a_large_text_in_a_png_does_not_decide_over_its_pixels() -> None:
    info = PngInfo()
    info.add_text("history", "x" * (3 * 1024**2), zip=True)
    data = saved(Image.effect_noise((16, 16), 60), pnginfo=info)

    assert verify(data, name="a").width == 16
    assert decode(data, name="a").pixels.shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("texts", "mib"), [pytest.param(1, 17, id="one"), pytest.param(5, 15, id="together")]
)
def test_texts_that_unpack_to_too_much_are_named(texts: int, mib: int) -> None:
    info = PngInfo()
    for number in range(texts):
        info.add_text(f"bomb {number}", "x" * (mib * 1024**2), zip=True)

    with pytest.raises(PictureTooLargeError, match="its texts or profiles take too much memory"):
        verify(saved(Image.effect_noise((16, 16), 60), pnginfo=info), name="a")


def test_picture_errors_cross_process_borders_as_they_are() -> None:
    error = TruncatedPictureError("a.png", "the end is missing")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is TruncatedPictureError
    assert copy.message == error.message
