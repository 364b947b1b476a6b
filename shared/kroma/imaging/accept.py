"""Accepts an untrusted picture: verifies it, and converts it to PNG if necessary."""

from typing import Final

from kroma.imaging.codec import verify
from kroma.imaging.file_part import FilePart
from kroma.imaging.header import EXTENSIONS, AcceptedPicture, Format, inspect
from kroma.imaging.high_bit_depth import decode16, encode16

_KEPT: Final[frozenset[Format]] = frozenset({"PNG", "JPEG", "WEBP"})
"""Formats that are stored unchanged."""


def accept(source: bytes | FilePart, *, name: str) -> AcceptedPicture:
    """Verify a picture; convert BMP and TIFF to upright PNG with alpha, profile and up to 16 bits.

    Raises:
        PictureError: It is not an intact picture in a supported format, or too large, also as a PNG.
    """
    data = source.read() if isinstance(source, FilePart) else source
    sent = verify(data, name=name)
    if sent.format in _KEPT:
        return AcceptedPicture(header=sent, sent=sent, extension=EXTENSIONS[sent.mime_type], converted=None)
    png = encode16(decode16(data, name=name))
    return AcceptedPicture(header=inspect(png, name=name), sent=sent, extension="png", converted=png)
