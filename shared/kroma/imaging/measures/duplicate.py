"""Is a candidate the same picture as another one: the root mean square of their thumbnails.

The thumbnail is a block mean in three colors, as in Yang, Gu and Niu, Block mean value based image
perceptual hashing (2006), kept in full instead of one bit per block: two drawings of one scene share
those bits, and only the full values tell a second drawing from a copy.
"""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from kroma.imaging.measures.gray import Rgb

SIDE: Final = 24
APART: Final = 8.0
"""Levels of 255 from which two candidates are different pictures; a copy saved again is under 1."""


def thumbnail(rgb: Rgb) -> bytes:
    """24 by 24 mean colors."""
    return np.asarray(cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_AREA), dtype=np.uint8).tobytes()


def nearest(thumbnails: Sequence[bytes]) -> list[tuple[float, int] | None]:
    """For each of the candidates, best first: how different from the nearest better one, and which.

    Returns:
        ``min(1, root mean square / 8)`` and the position of the better one; None for the first.
    """
    values = np.stack([np.frombuffer(data, dtype=np.uint8) for data in thumbnails]).astype(np.float32)
    found: list[tuple[float, int] | None] = [None]
    for position in range(1, len(values)):
        apart = np.sqrt(np.mean((values[:position] - values[position]) ** 2, axis=1))
        closest = int(apart.argmin())
        found.append((min(1.0, float(apart[closest]) / APART), closest))
    return found
