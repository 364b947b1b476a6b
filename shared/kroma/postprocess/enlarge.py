"""Enlarges with a Lanczos filter, in floats and with premultiplied alpha."""

import cv2
import numpy as np
from numpy.typing import NDArray

from kroma.imaging.errors import PictureTooLargeError
from kroma.imaging.header import MAX_PIXELS
from kroma.imaging.high_bit_depth import Picture16, Pixels

_LEAST_ALPHA = 1e-4


def check_enlarged(size: tuple[int, int], scale: int, *, name: str) -> None:
    """Check the size of the enlarged picture.

    Raises:
        PictureTooLargeError: It would exceed 64 megapixels.
    """
    width, height = size[0] * scale, size[1] * scale
    if width * height > MAX_PIXELS:
        problem = f"{scale} times as large, it would have {width}x{height} pixels"
        raise PictureTooLargeError(name, problem, "64 megapixels")


def enlarged(picture: Picture16, scale: int, *, name: str) -> Picture16:
    """The picture with sides ``scale`` times as long and the same depth, alpha and color space.

    Raises:
        PictureTooLargeError: It would have over 64 megapixels.
    """
    check_enlarged(picture.size, scale, name=name)
    width, height = picture.size
    return picture.replaced(resized(picture.pixels, (width * scale, height * scale)))


def resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """The pixels at another size (width, height): Lanczos to enlarge, area means to reduce.

    One channel at a time, so that the largest picture fits in a picture process's memory.
    """
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    way = cv2.INTER_LANCZOS4 if size[0] * size[1] >= width * height else cv2.INTER_AREA
    top = np.float32(np.iinfo(pixels.dtype).max)
    out = np.empty((size[1], size[0], pixels.shape[2]), pixels.dtype)
    through: NDArray[np.float32] | None = None
    small_alpha: NDArray[np.float32] | None = None
    if pixels.shape[2] > 3:  # noqa: PLR2004 - RGB
        small_alpha = pixels[..., 3].astype(np.float32) / top
        # Not clipped yet: it overshoots at edges like the colors, so their quotient does not.
        through = _floats(cv2.resize(small_alpha, size, interpolation=way))
        out[..., 3] = np.rint(np.clip(through, 0, 1) * top).astype(pixels.dtype)
    for channel in range(3):
        plane = pixels[..., channel].astype(np.float32)
        if small_alpha is not None:
            plane *= small_alpha
        plane = _floats(cv2.resize(plane, size, interpolation=way))
        if through is not None:
            plane /= np.maximum(through, np.float32(_LEAST_ALPHA))
            plane[through <= _LEAST_ALPHA] = 0
        out[..., channel] = np.rint(np.clip(plane, 0, top, out=plane)).astype(pixels.dtype)
    return out


def _floats(values: object) -> NDArray[np.float32]:
    return np.asarray(values, np.float32)
