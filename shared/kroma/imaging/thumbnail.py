"""Thumbnails: upright WebP in sRGB, with alpha."""

import io
from typing import Final

from PIL import Image, ImageOps

from kroma.imaging.codec import as_rgb, in_srgb, is_negative, profile_of, translated
from kroma.imaging.header import inspect

QUALITY: Final = 80
METHOD: Final = 0
"""The fastest of 0 to 6; a thumbnail is a few kilobytes either way."""
_GAP: Final = 2.0
"""A fast filter reduces the picture to this multiple of the target, then a good one does the rest."""


def thumbnail(data: bytes, size_px: int, *, name: str) -> bytes:
    """A WebP with a longer side of at most ``size_px``; JPEGs are decoded at a reduced size.

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
        upright = ImageOps.exif_transpose(small)
        shown = in_srgb(upright, profile, upright.mode) or upright
        buffer = io.BytesIO()
        shown.save(buffer, "WEBP", quality=QUALITY, method=METHOD, exif=b"")
        return buffer.getvalue()
