"""Pictures in and out: strangers' bytes to 8-bit sRGB-like pixels and back to PNG.

These functions run in picture processes (``kroma.cpu``); bytes in, bytes out.
"""

import io
import struct
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

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
"""What Pillow's decoders raise over bytes that are not what they claim."""

# Our own limit, checked on the header, is lower: Pillow's warning would come on top of it.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
# Its limits on texts would refuse pictures whose pixels are whole: editors keep their history in one.
PngImagePlugin.MAX_TEXT_CHUNK = 16 * 1024**2
PngImagePlugin.MAX_TEXT_MEMORY = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture, upright."""

    pixels: NDArray[np.uint8]
    """(height, width, 3 or 4), RGB or RGBA with straight alpha."""
    icc_profile: bytes | None = None
    """The colour space of the pixels where the file named one."""

    @property
    def alpha(self) -> NDArray[np.uint8] | None:
        return self.pixels[..., 3] if self.pixels.shape[2] == 4 else None  # noqa: PLR2004 - RGBA


def verify(data: bytes, *, name: str) -> PictureHeader:
    """Decode a picture to its last pixel and say what it is.

    Raises:
        UnreadablePictureError: It does not decode.
        TruncatedPictureError: It stops early.
        PictureTooLargeError: Over 64 MiB or 64 megapixels; found before decoding.
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
    """The first frame, upright by its EXIF orientation, in 8 bits with alpha and colour profile kept.

    CMYK goes through its own profile to sRGB; 16 bits a channel become 8.

    Raises:
        UnreadablePictureError: It does not decode.
        TruncatedPictureError: It stops early.
        PictureTooLargeError: Over 64 MiB or 64 megapixels; found before decoding.
    """
    header = inspect(data, name=name)
    with translated(name), Image.open(io.BytesIO(data), formats=[header.format]) as opened:
        opened.load()
        upright = ImageOps.exif_transpose(opened)
        profile = profile_of(opened)
        rgb, profile = as_rgb(upright, profile, negative=is_negative(opened))
        return Picture(np.asarray(rgb, dtype=np.uint8), profile)


def is_upright(data: bytes, *, name: str) -> bool:
    """Whether the pixels stand as the picture is meant; who reads them need not look at its EXIF.

    Raises:
        PictureError: It does not decode so far.
    """
    header = inspect(data, name=name)
    with translated(name), Image.open(io.BytesIO(data), formats=[header.format]) as image:
        return image.getexif().get(_ORIENTATION, 1) == 1


def encode_png(picture: Picture, metadata: Mapping[str, str] | None = None) -> bytes:
    """A PNG of the pixels, with alpha, profile and one text chunk per entry of ``metadata``."""
    info = PngInfo()
    for keyword, text in (metadata or {}).items():
        info.add_itxt(keyword, text)
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(picture.pixels))
    image.save(
        buffer,
        format="PNG",
        compress_level=PNG_COMPRESSION,
        pnginfo=info,
        icc_profile=picture.icc_profile,
    )
    return buffer.getvalue()


@contextmanager
def translated(name: str) -> Generator[None]:
    """Pillow's many ways to refuse a file, as ours."""
    try:
        # Only warnings of damaged metadata are silenced: those pixels may still be whole.
        with warnings.catch_warnings(action="ignore"):
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise PictureTooLargeError(name, "more pixels than its header says", "64 megapixels") from exc
    except MemoryError as exc:
        raise PictureTooLargeError(name, "decoding needs more memory than there is", "64 megapixels") from exc
    except _DAMAGE as exc:
        if "MAX_TEXT" in str(exc):
            texts = "a text or profile inside it, unpacked, or all texts together"
            raise PictureTooLargeError(name, texts, "16 MiB for one and 64 MiB for all") from exc
        if "truncated" in str(exc).lower():
            raise TruncatedPictureError(name, "its pixels stop early") from exc
        raise UnreadablePictureError(name, "its pixels are damaged") from exc


def profile_of(image: Image.Image) -> bytes | None:
    """The ICC profile that a file names."""
    profile: object = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and profile else None


def tiff_tag(image: Image.Image, tag: int) -> object:
    """What a TIFF's directory says under this number; None in other formats."""
    return image.tag_v2.get(tag) if isinstance(image, TiffImagePlugin.TiffImageFile) else None


def is_negative(image: Image.Image) -> bool:
    """Whether it is gray of 16 bits with 0 for white: Pillow turns only fewer bits."""
    return image.mode.startswith("I;16") and tiff_tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO


def as_rgb(
    image: Image.Image, profile: bytes | None, *, negative: bool = False
) -> tuple[Image.Image, bytes | None]:
    """8-bit RGB or RGBA, and the profile if it describes them; CMYK goes through its own to sRGB.

    Args:
        image: Of any mode.
        profile: The file's.
        negative: As ``is_negative`` says of the opened file.
    """
    if image.mode == "CMYK":
        return _cmyk_to_rgb(image, profile), None
    if image.mode.startswith("I;16") or image.mode in {"I", "F"}:
        image = _eight_bits(image)
    if negative:
        image = ImageOps.invert(image)
    has_alpha = image.has_transparency_data
    # A profile of gray, Lab or CMYK values does not describe RGB pixels.
    kept = profile if profile is not None and profile[16:20] == b"RGB " else None
    return image.convert("RGBA" if has_alpha else "RGB"), kept


def _cmyk_to_rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile is not None:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - Pillow leaves the type open
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            converted = None  # a broken profile: the plain formula is the best that is left
        if converted is not None:
            return converted
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Gray of 16 or 32 bits or floats, scaled and not clipped as Pillow's own conversion would."""
    values = np.asarray(image, dtype=np.float32)
    if image.mode == "F":
        top = 1.0 if values.size and float(np.nanmax(values)) <= 1.0 else 255.0
    else:
        top = float(_WORD_MAX)
    scaled = np.nan_to_num(np.clip(values / top, 0.0, 1.0)) * 255.0
    return Image.fromarray(np.rint(scaled).astype(np.uint8))
