"""Is a candidate the same picture as another one: the root mean square difference of their thumbnails.

A thumbnail has block means in three colors, as in Yang, Gu and Niu, Block mean value based image perceptual
hashing (2006), but with full values: one bit per block cannot tell a copy from another drawing of the scene.
"""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from kroma.imaging.measures.gray import Rgb

SIDE: Final = 24
APART: Final = 8.0
"""Difference, in levels of 255, of clearly different pictures; a copy that was saved again is under 1."""


def thumbnail(rgb: Rgb) -> bytes:
    """24 by 24 mean colors."""
    return np.asarray(cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_AREA), dtype=np.uint8).tobytes()


def nearest(thumbnails: Sequence[bytes]) -> list[tuple[float, int] | None]:
    """Compare each candidate, best first, with the most similar better one.

    Returns:
        Per candidate ``min(1, root mean square / 8)`` and the better one's position; None for the first.
    """
    values = np.stack([np.frombuffer(data, dtype=np.uint8) for data in thumbnails]).astype(np.float32)
    found: list[tuple[float, int] | None] = [None]
    for position in range(1, len(values)):
        apart = np.sqrt(np.mean((values[:position] - values[position]) ** 2, axis=1))
        closest = int(apart.argmin())
        found.append((min(1.0, float(apart[closest]) / APART), closest))
    return found
