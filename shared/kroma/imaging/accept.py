"""Taking a stranger's picture in: decoded to the last pixel, kept as it is or made a PNG."""

from typing import Final

from kroma.imaging.accepted import AcceptedPicture
from kroma.imaging.codec import verify
from kroma.imaging.header import Format, inspect
from kroma.imaging.high_bit_depth import EXTENSIONS, decode_deep, encode_deep

_KEPT: Final[frozenset[Format]] = frozenset({"PNG", "JPEG", "WEBP"})
"""Formats whose bytes stay as they were sent."""


def accept(data: bytes, *, name: str) -> AcceptedPicture:
    """Decode a picture whole; BMP and TIFF become PNG, upright, with alpha, profile and up to 16 bits.

    Raises:
        PictureError: It is no whole picture of a format we read, or too large, also as a PNG.
    """
    sent = verify(data, name=name)
    if sent.format in _KEPT:
        return AcceptedPicture(header=sent, sent=sent, extension=EXTENSIONS[sent.format], converted=None)
    png = encode_deep(decode_deep(data, name=name))
    return AcceptedPicture(header=inspect(png, name=name), sent=sent, extension="png", converted=png)
