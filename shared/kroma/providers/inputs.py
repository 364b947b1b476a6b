"""What a paid provider takes of a picture, seen without decoding it."""

from typing import Final

import msgspec

from kroma.imaging.header import PictureHeader, inspect

_MAY_BE_TURNED: Final = (b"Exif", b"eXIf", b"EXIF", b"exif", b"Orientation")
"""How JPEG, PNG and WebP introduce what may hold an orientation."""


class InputLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one picture may be."""

    mime_types: tuple[str, ...]
    max_bytes: int
    max_pixels: int


class FittedPicture(msgspec.Struct, frozen=True, kw_only=True):
    """A picture as it is sent."""

    data: bytes
    mime_type: str


def is_plainly_ready(data: bytes, name: str, limits: InputLimits) -> bool:
    """Whether a picture can go as it is, seen without decoding it: most can, and need no picture process.

    Raises:
        PictureError: Its header says that it is no picture, or too large a one.
    """
    header = inspect(data, name=name)
    return (
        header.mime_type in limits.mime_types
        and fits(header, data, limits)
        and not any(mark in data for mark in _MAY_BE_TURNED)
    )


def fits(header: PictureHeader, data: bytes, limits: InputLimits) -> bool:
    """Whether a picture is small enough, in bytes and in pixels."""
    return len(data) <= limits.max_bytes and header.width * header.height <= limits.max_pixels
