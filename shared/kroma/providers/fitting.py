"""Pictures on their way to a paid provider, in picture processes: bytes in, bytes out."""

from typing import Final

import cv2
import numpy as np

from kroma.imaging import codec
from kroma.imaging.header import inspect
from kroma.providers.inputs import FittedPicture, InputLimits, fits

_SHRINK: Final = 0.9
"""A further step down for a picture that is still too many bytes."""


def fitted(data: bytes, name: str, limits: InputLimits) -> FittedPicture | None:
    """The picture as PNG of the right side up, within the limits; None when it is so already.

    Alpha and color profile are kept.

    Raises:
        PictureError: It does not decode.
    """
    header = inspect(data, name=name)
    if (
        header.mime_type in limits.mime_types
        and fits(header, data, limits)
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


def _scaled(picture: codec.Picture, factor: float) -> codec.Picture:
    if factor >= 1:
        return picture
    height, width = picture.pixels.shape[:2]
    size = (max(1, int(width * factor)), max(1, int(height * factor)))
    small = cv2.resize(picture.pixels, size, interpolation=cv2.INTER_AREA)
    return codec.Picture(np.asarray(small, dtype=np.uint8), picture.icc_profile)
