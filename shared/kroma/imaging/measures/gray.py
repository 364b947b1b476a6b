"""Lightness of pictures, resizing, and fitting one picture's frame to another's."""

from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Gray: TypeAlias = NDArray[np.uint8]
"""(height, width), 0 black to 255 white: luma of BT.601."""
Rgb: TypeAlias = NDArray[np.uint8]
"""(height, width, 3)."""

WORK_PX: Final = 256
"""Longer side at which structure is compared: shows composition, but not drawing technique."""
DETAIL_PX: Final = 1024
"""Longest side at which sharpness is compared."""
_SAME_ASPECT: Final = 0.02


def over_white(pixels: NDArray[np.uint8]) -> Rgb:
    """The picture on white; ``pixels`` is (height, width, 3 or 4) with straight alpha."""
    if pixels.shape[2] == 3:  # noqa: PLR2004 - RGB
        return np.ascontiguousarray(pixels)
    alpha = pixels[..., 3:].astype(np.uint16)
    mixed = (pixels[..., :3] * alpha + np.uint16(255) * (np.uint16(255) - alpha) + np.uint16(127)) // 255
    return mixed.astype(np.uint8)


def gray_of(rgb: Rgb) -> Gray:
    """The picture's lightness."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def resized(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture at ``(width, height)``, averaged if it shrinks."""
    height, width = picture.shape[:2]
    if (width, height) == size:
        return picture
    method = cv2.INTER_AREA if size[0] * size[1] < width * height else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=method), dtype=np.uint8)


def size_at(shape: tuple[int, ...], longer_px: int) -> tuple[int, int]:
    """``(width, height)`` of a picture of this shape with the given longer side."""
    height, width = shape[:2]
    factor = longer_px / max(height, width)
    return max(1, round(width * factor)), max(1, round(height * factor))


def at_most(picture: NDArray[np.uint8], longer_px: int) -> NDArray[np.uint8]:
    """The picture, reduced if its longer side exceeds the limit."""
    if max(picture.shape[:2]) <= longer_px:
        return picture
    return resized(picture, size_at(picture.shape, longer_px))


def cut_to(gray: Gray, size: tuple[int, int]) -> Gray:
    """The largest centered crop with the proportions of ``(width, height)``, as providers fill a size."""
    height, width = gray.shape
    wanted = size[0] / size[1]
    if width / height > wanted:
        kept = max(1, round(height * wanted))
        left = (width - kept) // 2
        return gray[:, left : left + kept]
    kept = max(1, round(width / wanted))
    top = (height - kept) // 2
    return gray[top : top + kept]


def framings(scene: Gray, size: tuple[int, int]) -> list[Gray]:
    """The scene at ``(width, height)``, cropped and, if proportions differ, stretched as providers do."""
    cut = resized(cut_to(scene, size), size)
    aspect, wanted = scene.shape[1] / scene.shape[0], size[0] / size[1]
    if abs(aspect / wanted - 1.0) <= _SAME_ASPECT:
        return [cut]
    return [cut, resized(scene, size)]
