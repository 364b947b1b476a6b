"""Decodes and encodes pictures without loss: 8 or 16 bits per channel, alpha and profile.

Use ``kroma.imaging.codec`` instead to only analyze a picture.
"""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kroma.imaging.codec import Picture, decode, encode_png, is_negative, profile_of, tiff_tag, verify
from kroma.imaging.errors import UnreadablePictureError
from kroma.imaging.header import PictureHeader, inspect
from kroma.imaging.png_text import SIGNATURE, chunk

Pixels = NDArray[np.uint8 | np.uint16]
"""(height, width, 3 or 4), RGB or RGBA with straight alpha."""
FileFormat = Literal["png", "jpg", "webp"]

_RGBA: Final = 4
_BITS_16: Final = 16
_BITS_PER_SAMPLE: Final = 258
_EXTRA_SAMPLES: Final = 338
_UNSPECIFIED: Final = 0
_PREMULTIPLIED: Final = 1
_ROWS_AT_A_TIME: Final = 256
_IHDR_DEPTH_AT: Final = 24
_PNG16_LEVEL: Final = 6
_LARGEST_WEBP_PX: Final = 16383
_LARGEST_JPEG_PX: Final = 65500
_ORIENTATION: Final = 0x0112
_FIRST_TRANSPOSED: Final = 5


@dataclass(frozen=True, slots=True)
class Picture16:
    """A decoded picture, upright."""

    pixels: Pixels
    icc_profile: bytes | None = None
    """The pixels' color space, if the file has one."""

    @property
    def is_16_bit(self) -> bool:
        return self.pixels.dtype == np.uint16

    @property
    def top(self) -> int:
        return 65535 if self.is_16_bit else 255

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def alpha(self) -> Pixels | None:
        """(height, width), if there is an alpha channel."""
        return self.pixels[..., 3] if self.pixels.shape[2] == _RGBA else None

    def replaced(self, pixels: Pixels) -> "Picture16":
        """Other pixels in the same color space."""
        return Picture16(pixels, self.icc_profile)

    def in_8_bits(self) -> "Picture16":
        """Rounded to 8 bits per channel."""
        if not self.is_16_bit:
            return self
        words = self.pixels.astype(np.uint32)
        return self.replaced(((words * 255 + 32767) // 65535).astype(np.uint8))


def decode16(data: bytes, *, name: str) -> Picture16:
    """The first frame, upright, with alpha, profile and up to 16 bits per channel.

    Raises:
        PictureError: As ``kroma.imaging.codec.decode``.
    """
    header = inspect(data, name=name)
    if not _is_16_bit(data, header):
        picture = decode(data, name=name)
        return Picture16(picture.pixels, picture.icc_profile)
    # Pillow would read 16-bit color as 8 bits, but it detects damage that OpenCV ignores.
    verify(data, name=name)
    found = _read_by_opencv(data)
    if found is None:
        picture = decode(data, name=name)
        return Picture16(picture.pixels.astype(np.uint16) * np.uint16(257), picture.icc_profile)
    with Image.open(io.BytesIO(data), formats=[header.format]) as image:
        # OpenCV applies the orientation of a TIFF, but not of a PNG.
        pixels = _as_tagged(found, image) if header.format == "TIFF" else _upright(found, image)
        profile = profile_of(image)
    return Picture16(pixels, profile if profile is not None and profile[16:20] == b"RGB " else None)


def encode16(picture: Picture16, kind: FileFormat = "png", *, quality: int = 95) -> bytes:
    """The picture as a file.

    Args:
        picture: The picture.
        kind: PNG keeps everything; WebP has 8 bits; JPEG has 8 bits and no alpha (flattened on white).
        quality: 1 to 100, for JPEG and WebP.

    Raises:
        UnreadablePictureError: A side is longer than the format allows.
    """
    if kind == "png":
        if not picture.is_16_bit:
            return encode_png(Picture(_bytes_of(picture), picture.icc_profile))
        return _png16(picture)
    limit = _LARGEST_WEBP_PX if kind == "webp" else _LARGEST_JPEG_PX
    if max(picture.size) > limit:
        problem = f"a {kind} file may have at most {limit} pixels per side, not {max(picture.size)}"
        raise UnreadablePictureError("result", problem)
    buffer = io.BytesIO()
    profile = picture.icc_profile
    if kind == "webp":
        image = Image.fromarray(_bytes_of(picture))
        image.save(buffer, "WEBP", quality=quality, method=4, icc_profile=profile or b"")
    else:
        image = Image.fromarray(_bytes_of(flattened(picture)))
        image.save(buffer, "JPEG", quality=quality, subsampling=0, icc_profile=profile)
    return buffer.getvalue()


def flattened(picture: Picture16) -> Picture16:
    """On white, without alpha."""
    if picture.alpha is None:
        return picture
    top = np.float32(picture.top)
    share = picture.pixels[..., 3:].astype(np.float32) / top
    color = picture.pixels[..., :3].astype(np.float32) * share + top * (1 - share)
    return picture.replaced(np.rint(color).astype(picture.pixels.dtype))


def mime_type(kind: FileFormat) -> str:
    """The ``Content-Type``."""
    return "image/jpeg" if kind == "jpg" else f"image/{kind}"


def _bytes_of(picture: Picture16) -> NDArray[np.uint8]:
    return np.ascontiguousarray(picture.in_8_bits().pixels, dtype=np.uint8)


def _is_16_bit(data: bytes, header: PictureHeader) -> bool:
    if header.format == "PNG":
        return data[_IHDR_DEPTH_AT] == _BITS_16
    if header.format == "TIFF":
        try:
            with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
                bits = tiff_tag(image, _BITS_PER_SAMPLE)
        except (OSError, SyntaxError, ValueError, struct.error):
            return False  # decoding will report the problem
        return isinstance(bits, tuple) and _BITS_16 in bits
    return False


def _read_by_opencv(data: bytes) -> NDArray[np.uint16] | None:
    """(height, width, 3 or 4) as stored; None if OpenCV cannot read it in 16 bits."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16:  # pyright: ignore[reportUnnecessaryComparison] - OpenCV returns None if it cannot read it
        return None
    if found.ndim == 2:  # noqa: PLR2004 - gray
        return np.repeat(np.asarray(found, np.uint16)[..., None], 3, axis=2)
    order = [2, 1, 0, 3] if found.shape[2] == _RGBA else [2, 1, 0]
    return np.ascontiguousarray(found[..., order], dtype=np.uint16)


def _as_tagged(pixels: NDArray[np.uint16], image: Image.Image) -> NDArray[np.uint16]:
    """Apply a TIFF's tags: gray with 0 for black, and a fourth sample as straight alpha."""
    if is_negative(image):
        return np.invert(pixels)
    extra = tiff_tag(image, _EXTRA_SAMPLES)
    if pixels.shape[2] != _RGBA or extra not in {(_UNSPECIFIED,), (_PREMULTIPLIED,)}:
        return pixels
    if extra == (_UNSPECIFIED,):
        return np.ascontiguousarray(pixels[..., :3])
    for start in range(0, len(pixels), _ROWS_AT_A_TIME):  # 64 megapixels of floats would be 1 GiB
        _divide_by_alpha(pixels[start : start + _ROWS_AT_A_TIME])
    return pixels


def _divide_by_alpha(rows: NDArray[np.uint16]) -> None:
    """Convert premultiplied to straight alpha in place; fully transparent pixels keep their color."""
    alpha = rows[..., 3:].astype(np.float64)
    straight = rows[..., :3] * np.divide(65535.0, alpha, out=np.ones_like(alpha), where=alpha > 0)
    rows[..., :3] = np.rint(np.minimum(straight, 65535.0)).astype(np.uint16)


def _upright(pixels: NDArray[np.uint16], image: Image.Image) -> NDArray[np.uint16]:
    """Apply the EXIF orientation, 1 to 8."""
    orientation: object = image.getexif().get(_ORIENTATION)
    if not isinstance(orientation, int) or orientation not in range(2, 9):
        return pixels
    if orientation >= _FIRST_TRANSPOSED:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _png16(picture: Picture16) -> bytes:
    order = [2, 1, 0] if picture.alpha is None else [2, 1, 0, 3]
    done, encoded = cv2.imencode(
        ".png",
        np.ascontiguousarray(picture.pixels[..., order]),
        [cv2.IMWRITE_PNG_COMPRESSION, _PNG16_LEVEL],
    )
    if not done:
        raise UnreadablePictureError("result", "it could not be written as a PNG")
    png = encoded.tobytes()
    if picture.icc_profile is None:
        return png
    header_end = len(SIGNATURE) + 25
    body = b"ICC profile\0\0" + zlib.compress(picture.icc_profile)
    return png[:header_end] + chunk(b"iCCP", body) + png[header_end:]
