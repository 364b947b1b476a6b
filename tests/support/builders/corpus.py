"""Picture files as strangers send them: what must be read right, and what must be refused clearly.

``SAMPLES`` names every file; ``sample(name)`` makes its bytes once a process, in code::

    @pytest.mark.parametrize("name", corpus.GOOD)
    def test_it(name):
        made = tool(corpus.sample(name).data)

Every good one shows the same thing, 48 x 32 pixels upright: dark red left, light blue right, the left
half's top corner black. ``alpha`` ones have a transparent right border of 12 pixels.
"""

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageCms

WIDTH, HEIGHT = 48, 32
CLEAR_FROM = 36
"""In pictures with alpha, columns from here on are transparent."""
LEFT, RIGHT, CORNER = (120, 24, 40), (160, 200, 240), (0, 0, 0)


class Sample(NamedTuple):
    """One file and what should become of it."""

    data: bytes
    is_good: bool
    alpha: bool = False
    deep: bool = False
    """16 bits a channel."""
    gray: bool = False
    profile: bool = False
    tolerance: int = 3
    """Levels that a lossy format may be off."""


def pixels() -> np.ndarray:
    """(32, 48, 3) uint8: what every good color file shows."""
    shown = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    shown[:, : WIDTH // 2] = LEFT
    shown[:, WIDTH // 2 :] = RIGHT
    shown[:8, :8] = CORNER
    return shown


def with_alpha() -> np.ndarray:
    """(32, 48, 4) uint8: ``pixels`` with a transparent right border."""
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    alpha[:, CLEAR_FROM:] = 0
    return np.concatenate([pixels(), alpha], axis=2)


def display_profile() -> bytes:
    """An ICC profile of RGB values."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk with its right checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width: int, height: int, body: bytes = b"", *, depth: int = 8, color: int = 2) -> bytes:
    """A PNG that says what it likes of itself."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    idat = chunk(b"IDAT", zlib.compress(body))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + idat + chunk(b"IEND", b"")


def _image() -> Image.Image:
    return Image.fromarray(pixels())


def _rotated_jpeg() -> bytes:
    """Lies on its side; its orientation tag says to turn it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(_image().transpose(Image.Transpose.ROTATE_90), "JPEG", quality=97, subsampling=0, exif=exif)


def _palette_with_hole() -> bytes:
    indexes = np.zeros((HEIGHT, WIDTH), np.uint8)
    indexes[:, WIDTH // 2 :] = 1
    indexes[:8, :8] = 2
    indexes[:, CLEAR_FROM:] = 3
    image = Image.fromarray(indexes)
    image = image.convert("P")
    image.putpalette([*LEFT, *RIGHT, *CORNER, *RIGHT])
    return saved(image, transparency=3)


def _deep(*, alpha: bool, kind: str = ".png") -> bytes:
    source = with_alpha() if alpha else pixels()
    deep = source.astype(np.uint16) * 257
    # A part of a level, which 8 bits cannot hold.
    deep[16:, : WIDTH // 2, :3] += 100
    order = [2, 1, 0, 3] if alpha else [2, 1, 0]
    done, data = cv2.imencode(kind, np.ascontiguousarray(deep[..., order]))
    if not done:
        raise AssertionError
    return data.tobytes()


def _frames() -> list[Image.Image]:
    return [Image.new("RGB", (WIDTH, HEIGHT), (255, 0, 0)), Image.new("RGB", (WIDTH, HEIGHT), (0, 255, 0))]


def _with_wrong_checksum() -> bytes:
    data = bytearray(saved(_image()))
    at = data.index(b"IDAT")
    data[at + 8] ^= 0xFF
    return bytes(data)


def _jpeg_saying(width: int, height: int) -> bytes:
    data = bytearray(saved(_image(), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def jpeg_of_scans(more: int, side_px: int = 7990) -> bytes:
    """A gray JPEG with its last scan, of next to no bytes, ``more`` times again."""
    data = _progressive_jpeg(side_px)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * more + b"\xff\xd9"


@cache
def _progressive_jpeg(side_px: int) -> bytes:
    return saved(Image.new("L", (side_px, side_px), 128), "JPEG", progressive=True)


def tiff16(samples: np.ndarray, photometric: int, *, extra: int | None = None, orientation: int = 1) -> bytes:
    """A TIFF of (height, width, 1 to 4) uint16 samples as they are, which means what its tags say."""
    height, width, count = samples.shape
    pixels = samples.astype("<u2").tobytes()
    bits_at = 8 + len(pixels)
    entries = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, count, bits_at if count > 2 else 0x00100010),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, 8),
        (274, 3, 1, orientation),
        (277, 3, 1, count),
        (278, 3, 1, height),
        (279, 4, 1, len(pixels)),
        *([] if extra is None else [(338, 3, 1, extra)]),
    ]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    bits = struct.pack("<4H", 16, 16, 16, 16)
    head = b"II*\0" + struct.pack("<I", bits_at + len(bits))
    return head + pixels + bits + struct.pack("<H", len(entries)) + directory + bytes(4)


def png_of_chunks(more: int) -> bytes:
    """A PNG with ``more`` empty chunks that mean nothing."""
    data = saved(_image())
    return data[:33] + chunk(b"aaAa", b"") * more + data[33:]


def _good() -> dict[str, Callable[[], Sample]]:
    lossless_webp = {"lossless": True, "exact": True}
    gray = {"gray": True}
    return {
        "png": lambda: _ok(saved(_image())),
        "jpeg": lambda: _ok(saved(_image(), "JPEG", quality=97, subsampling=0)),
        "webp": lambda: _ok(saved(_image(), "WEBP", lossless=True)),
        "bmp": lambda: _ok(saved(_image(), "BMP")),
        "tiff": lambda: _ok(saved(_image(), "TIFF")),
        "alpha_png": lambda: _ok(saved(Image.fromarray(with_alpha())), alpha=True),
        "alpha_webp": lambda: _ok(saved(Image.fromarray(with_alpha()), "WEBP", **lossless_webp), alpha=True),
        "alpha_grey_png": lambda: _ok(saved(Image.fromarray(with_alpha()).convert("LA")), alpha=True, **gray),
        "palette_png": lambda: _ok(saved(_image().quantize(8, dither=Image.Dither.NONE))),
        "palette_alpha_png": lambda: _ok(_palette_with_hole(), alpha=True),
        "one_bit_png": lambda: _ok(saved(_image().convert("1", dither=Image.Dither.NONE)), **gray),
        "grey_jpeg": lambda: _ok(saved(_image().convert("L"), "JPEG", quality=97), **gray),
        "deep_png": lambda: _ok(_deep(alpha=False), deep=True),
        "deep_alpha_png": lambda: _ok(_deep(alpha=True), deep=True, alpha=True),
        "tiff16": lambda: _ok(_deep(alpha=False, kind=".tiff"), deep=True),
        "deep_grey_png": lambda: _ok(
            saved(Image.fromarray(np.asarray(_image().convert("L"), np.uint16) * 257)), deep=True, **gray
        ),
        "cmyk_jpeg": lambda: _ok(
            saved(_image().convert("CMYK"), "JPEG", quality=97, subsampling=0), tolerance=6
        ),
        "exif_rotated_jpeg": lambda: _ok(_rotated_jpeg()),
        "profile_png": lambda: _ok(saved(_image(), icc_profile=display_profile()), profile=True),
        "profile_jpeg": lambda: _ok(
            saved(_image(), "JPEG", quality=97, subsampling=0, icc_profile=display_profile()), profile=True
        ),
        "animated_png": lambda: _ok(
            saved(_image(), save_all=True, append_images=_frames(), duration=100, default_image=False)
        ),
        "animated_webp": lambda: _ok(
            saved(_image(), "WEBP", save_all=True, append_images=_frames(), duration=100, lossless=True)
        ),
        "png_with_zip": lambda: _ok(saved(_image()) + b"PK\x05\x06" + bytes(18)),
        "jpeg_with_script": lambda: _ok(
            saved(_image(), "JPEG", quality=97, subsampling=0, comment=b"<script>alert(1)</script>")
            + b"<html><body>hello</body></html>"
        ),
        "jpeg_with_film": lambda: _ok(saved(_image(), "JPEG", quality=97, subsampling=0) + bytes(200_000)),
        "png_with_much_behind": lambda: _ok(saved(_image()) + bytes(200_000)),
    }


def _ok(data: bytes, **traits: bool | int) -> Sample:
    return Sample(data, is_good=True, **traits)


def _bad() -> dict[str, Callable[[], bytes]]:
    return {
        "truncated_png": lambda: saved(_image())[:-20],
        "truncated_inside_png": lambda: _cut_inside(saved(_noise())),
        "truncated_jpeg": lambda: saved(_image(), "JPEG")[:-40],
        "truncated_webp": lambda: saved(_image(), "WEBP")[:-12],
        "truncated_tiff": lambda: saved(_image(), "TIFF")[: HEIGHT * WIDTH],
        "wrong_checksum_png": _with_wrong_checksum,
        "huge_png": lambda: png_of(60_000, 60_000, bytes(1000)),
        "huge_deep_png": lambda: png_of(30_000, 30_000, bytes(1000), depth=16, color=6),
        "huge_jpeg": lambda: _jpeg_saying(65_500, 65_500),
        "just_too_large_png": lambda: png_of(8_001, 8_000, bytes(1000)),
        "lying_png": lambda: png_of(7_900, 8_000, bytes(1000)),
        "zero_size": lambda: b"",
        "zero_width_png": lambda: png_of(0, 32),
        "one_byte": lambda: b"\x89",
        "only_signature_png": lambda: b"\x89PNG\r\n\x1a\n",
        "animated_gif": lambda: saved(_image(), "GIF", save_all=True, append_images=_frames()),
        "gif_script": lambda: b"GIF89a/*" + bytes(20) + b"*/=1;alert(1)",
        "html": lambda: b"<!doctype html><html><body><h1>502 Bad Gateway</h1></body></html>",
        "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "pdf": lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + bytes(200),
        "zip_with_png": lambda: b"PK\x03\x04" + bytes(26) + saved(_image()),
        "html_with_png": lambda: b"<html>" + saved(_image()),
        "wrong_colour_type_png": lambda: png_of(WIDTH, HEIGHT, bytes(100), color=5),
        "deep_grey_alpha_tiff": lambda: tiff16(np.zeros((4, 4, 2), np.uint16), 1, extra=2),
        "many_scans_jpeg": lambda: jpeg_of_scans(100),
        "many_chunks_png": lambda: png_of_chunks(70_000),
    }


def _noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8))


def _cut_inside(png: bytes) -> bytes:
    """Whole chunks, but half of the pixels' data is missing from them."""
    at = png.index(b"IDAT")
    (length,) = struct.unpack_from(">I", png, at - 4)
    half = png[at + 4 : at + 4 + length // 2]
    return png[: at - 4] + chunk(b"IDAT", half) + chunk(b"IEND", b"")


_GOOD = _good()
_BAD = _bad()
GOOD = tuple(_GOOD)
BAD = tuple(_BAD)
SAMPLES = GOOD + BAD


@cache
def sample(name: str) -> Sample:
    """The file of this name."""
    if name in _GOOD:
        return _GOOD[name]()
    return Sample(_BAD[name](), is_good=False)
