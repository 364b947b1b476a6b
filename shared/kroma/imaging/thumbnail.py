"""Small pictures to look through many: upright, in sRGB, with alpha, as WebP."""

import io
from typing import Final

from PIL import Image, ImageCms, ImageOps

from kroma.imaging.codec import as_rgb, is_negative, profile_of, translated
from kroma.imaging.header import inspect

QUALITY: Final = 80
METHOD: Final = 0
"""Of 0 to 6: the quickest; a thumbnail is a few kilobytes either way."""
_GAP: Final = 2.0
"""How many times larger than asked for a picture still is when the filter that looks good begins."""


def thumbnail(data: bytes, size_px: int, *, name: str) -> bytes:
    """A WebP whose longer side is ``size_px``, or the picture's where that is smaller.

    A JPEG is decoded at a fraction of its size, so that most of its pixels are never made.

    Raises:
        PictureError: It does not decode.
    """
    header = inspect(data, name=name)
    with translated(name), Image.open(io.BytesIO(data), formats=[header.format]) as opened:
        profile = profile_of(opened)
        scale = min(1.0, size_px / max(opened.size))
        size = max(1, round(opened.width * scale)), max(1, round(opened.height * scale))
        opened.draft(None, (int(size[0] * _GAP), int(size[1] * _GAP)))
        orientation = opened.getexif()
        whole, profile = as_rgb(opened, profile, negative=is_negative(opened))
        small = whole if whole.size == size else whole.resize(size, reducing_gap=_GAP)
        small.getexif().update(orientation)
        shown = _in_srgb(ImageOps.exif_transpose(small), profile)
        buffer = io.BytesIO()
        shown.save(buffer, "WEBP", quality=QUALITY, method=METHOD, exif=b"")
        return buffer.getvalue()


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile is None:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - Pillow leaves the type open
        return ImageCms.profileToProfile(image, source, target, outputMode=image.mode) or image
    except (ImageCms.PyCMSError, OSError):
        return image  # a broken profile: the colors as they are are the best that is left
