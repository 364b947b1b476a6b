"""Taking a stranger's picture in: decoded to the last pixel, kept as it is or made a PNG."""

from typing import Final

from kroma.imaging.codec import verify
from kroma.imaging.file_part import FilePart
from kroma.imaging.header import EXTENSIONS, AcceptedPicture, Format, inspect
from kroma.imaging.high_bit_depth import decode16, encode16

_KEPT: Final[frozenset[Format]] = frozenset({"PNG", "JPEG", "WEBP"})
"""Formats whose bytes stay as they were sent."""


def accept(source: bytes | FilePart, *, name: str) -> AcceptedPicture:
    """Decode a picture whole; BMP and TIFF become PNG, upright, with alpha, profile and up to 16 bits.

    Raises:
        PictureError: It is no whole picture of a format we read, or too large, also as a PNG.
    """
    data = source.read() if isinstance(source, FilePart) else source
    sent = verify(data, name=name)
    if sent.format in _KEPT:
        return AcceptedPicture(header=sent, sent=sent, extension=EXTENSIONS[sent.mime_type], converted=None)
    png = encode16(decode16(data, name=name))
    return AcceptedPicture(header=inspect(png, name=name), sent=sent, extension="png", converted=png)
