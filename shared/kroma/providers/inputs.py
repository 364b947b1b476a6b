"""Pictures on their way to a paid provider and back, in picture processes: bytes in, bytes out."""

from typing import TYPE_CHECKING, Final

import msgspec

from kroma.imaging.header import PictureHeader, inspect

if TYPE_CHECKING:
    from kroma.imaging.codec import Picture

_MAY_BE_TURNED: Final = (b"Exif", b"eXIf", b"EXIF", b"exif", b"Orientation")
"""How JPEG, PNG and WebP introduce what may hold an orientation."""
_SHRINK: Final = 0.9
"""A further step down for a picture that is still too many bytes."""


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
        and _fits(header, data, limits)
        and not any(mark in data for mark in _MAY_BE_TURNED)
    )


def fitted(data: bytes, name: str, limits: InputLimits) -> FittedPicture | None:
    """The picture as PNG of the right side up, within the limits; None when it is so already.

    Alpha and colour profile are kept.

    Raises:
        PictureError: It does not decode.
    """
    from kroma.imaging import codec  # noqa: PLC0415 - numpy and Pillow stay out of the worker

    header = inspect(data, name=name)
    if (
        header.mime_type in limits.mime_types
        and _fits(header, data, limits)
        and codec.is_upright(data, name=name)
    ):
        return None
    picture = codec.decode(data, name=name)
    pixels = picture.pixels.shape[0] * picture.pixels.shape[1]
    factor = min(1.0, (limits.max_pixels / pixels) ** 0.5)
    encoded = codec.encode_png(_scaled(picture, factor))
    while len(encoded) > limits.max_bytes:
        factor *= min(_SHRINK, (limits.max_bytes / len(encoded)) ** 0.5)
        encoded = codec.encode_png(_scaled(picture, factor))
    return FittedPicture(data=encoded, mime_type="image/png")


def verified(data: bytes) -> PictureHeader:
    """An answer, decoded to its last pixel.

    Raises:
        PictureError: It is no picture.
    """
    from kroma.imaging.codec import verify  # noqa: PLC0415 - as above

    return verify(data, name="answer")


def _fits(header: PictureHeader, data: bytes, limits: InputLimits) -> bool:
    return len(data) <= limits.max_bytes and header.width * header.height <= limits.max_pixels


def _scaled(picture: "Picture", factor: float) -> "Picture":
    if factor >= 1:
        return picture
    import cv2  # noqa: PLC0415 - as above
    import numpy as np  # noqa: PLC0415 - as above

    from kroma.imaging.codec import Picture  # noqa: PLC0415 - as above

    height, width = picture.pixels.shape[:2]
    size = (max(1, int(width * factor)), max(1, int(height * factor)))
    small = cv2.resize(picture.pixels, size, interpolation=cv2.INTER_AREA)
    return Picture(np.asarray(small, dtype=np.uint8), picture.icc_profile)
