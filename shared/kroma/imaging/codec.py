"""Decodes untrusted pictures to 8-bit RGB pixels, and encodes pixels as PNG."""

import io
import struct
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, TiffImagePlugin

from kroma.imaging.errors import PictureTooLargeError, TruncatedPictureError, UnreadablePictureError
from kroma.imaging.header import MAX_PIXELS, PictureHeader, inspect

PNG_COMPRESSION: Final = 6
_WORD_MAX: Final = 65535
_ORIENTATION: Final = 0x0112
_PHOTOMETRIC: Final = 262
_WHITE_IS_ZERO: Final = 0
_DAMAGE: Final = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    EOFError,
    struct.error,
    ArithmeticError,
)
"""What Pillow's decoders raise on invalid data."""

# ``inspect`` checks the limit first; this makes Pillow agree with it.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
# The default limits would refuse intact pictures: some editors store their history in a text chunk.
PngImagePlugin.MAX_TEXT_CHUNK = 16 * 1024**2
PngImagePlugin.MAX_TEXT_MEMORY = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture, upright."""

    pixels: NDArray[np.uint8]
    """(height, width, 3 or 4), RGB or RGBA with straight alpha."""
    icc_profile: bytes | None = None
    """The pixels' color space, if the file has one."""

    @property
    def alpha(self) -> NDArray[np.uint8] | None:
        """(height, width), if there is an alpha channel."""
        return self.pixels[..., 3] if self.pixels.shape[2] == 4 else None  # noqa: PLR2004 - RGBA


def verify(data: bytes, *, name: str) -> PictureHeader:
    """Decode a picture completely and return its header.

    Raises:
        UnreadablePictureError: It does not decode.
        TruncatedPictureError: It ends early.
        PictureTooLargeError: It is over 64 MiB or 64 megapixels; checked before decoding.
    """
    header = inspect(data, name=name)
    with translated(name):
        if header.format == "PNG":
            with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
                image.verify()  # checksums, which loading skips
        with Image.open(io.BytesIO(data), formats=[header.format]) as image:
            image.load()
    return header


def decode(data: bytes, *, name: str) -> Picture:
    """The first frame, upright by its EXIF orientation, in 8 bits, with alpha and color profile.

    CMYK is converted to sRGB by its own profile.

    Raises:
        PictureError: As ``verify``.
    """
    header = inspect(data, name=name)
    with translated(name), Image.open(io.BytesIO(data), formats=[header.format]) as opened:
        opened.load()
        upright = ImageOps.exif_transpose(opened)
        profile = profile_of(opened)
        rgb, profile = as_rgb(upright, profile, negative=is_negative(opened))
        return Picture(np.asarray(rgb, dtype=np.uint8), profile)


def is_upright(data: bytes, *, name: str) -> bool:
    """Whether the pixels are stored upright, so that the EXIF orientation can be ignored.

    Raises:
        PictureError: The header does not decode.
    """
    header = inspect(data, name=name)
    with translated(name), Image.open(io.BytesIO(data), formats=[header.format]) as image:
        return image.getexif().get(_ORIENTATION, 1) == 1


def encode_png(picture: Picture) -> bytes:
    """A PNG of the pixels, with alpha and profile."""
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(picture.pixels))
    image.save(buffer, "PNG", compress_level=PNG_COMPRESSION, icc_profile=picture.icc_profile)
    return buffer.getvalue()


@contextmanager
def translated(name: str) -> Generator[None]:
    """Translate Pillow's errors to ``PictureError``."""
    try:
        # Silences warnings about damaged metadata only: the pixels may be intact.
        with warnings.catch_warnings(action="ignore"):
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise PictureTooLargeError(name, "it has more pixels than its header says", "64 megapixels") from exc
    except MemoryError as exc:
        problem = "decoding needs more memory than is available"
        raise PictureTooLargeError(name, problem, "64 megapixels") from exc
    except _DAMAGE as exc:
        if "MAX_TEXT" in str(exc):
            problem = "its texts or profiles take too much memory when uncompressed"
            raise PictureTooLargeError(name, problem, "16 MiB for one and 64 MiB for all") from exc
        if "truncated" in str(exc).lower():
            raise TruncatedPictureError(name, "its pixels end early") from exc
        raise UnreadablePictureError(name, "its pixels are damaged") from exc


def profile_of(image: Image.Image) -> bytes | None:
    """The embedded ICC profile."""
    profile: object = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and profile else None


def tiff_tag(image: Image.Image, tag: int) -> object:
    """The value of a TIFF tag; None in other formats."""
    return image.tag_v2.get(tag) if isinstance(image, TiffImagePlugin.TiffImageFile) else None


def is_negative(image: Image.Image) -> bool:
    """Whether it is 16-bit gray with 0 for white, which Pillow does not invert by itself."""
    return image.mode.startswith("I;16") and tiff_tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO


def as_rgb(
    image: Image.Image, profile: bytes | None, *, negative: bool = False
) -> tuple[Image.Image, bytes | None]:
    """8-bit RGB or RGBA, and the profile if it applies to them; CMYK is converted to sRGB.

    Args:
        image: Of any mode.
        profile: The file's profile.
        negative: ``is_negative`` of the opened file.
    """
    if image.mode == "CMYK":
        return in_srgb(image, profile, "RGB") or image.convert("RGB"), None
    if image.mode.startswith("I;16") or image.mode in {"I", "F"}:
        image = _eight_bits(image)
    if negative:
        image = ImageOps.invert(image)
    has_alpha = image.has_transparency_data
    # A profile for gray, Lab or CMYK does not apply to RGB pixels.
    kept = profile if profile is not None and profile[16:20] == b"RGB " else None
    return image.convert("RGBA" if has_alpha else "RGB"), kept


def in_srgb(image: Image.Image, profile: bytes | None, mode: str) -> Image.Image | None:
    """The picture converted by its profile to sRGB in this mode; None without a usable profile."""
    if profile is None:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - Pillow leaves the type open
        return ImageCms.profileToProfile(image, source, target, outputMode=mode)
    except (ImageCms.PyCMSError, OSError):
        return None


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale gray of 16 bits, 32 bits or floats to 8 bits; Pillow's own conversion would clip it."""
    values = np.asarray(image, dtype=np.float32)
    if image.mode == "F":
        top = 1.0 if values.size and float(np.nanmax(values)) <= 1.0 else 255.0
    else:
        top = float(_WORD_MAX)
    scaled = np.nan_to_num(np.clip(values / top, 0.0, 1.0)) * 255.0
    return Image.fromarray(np.rint(scaled).astype(np.uint8))
