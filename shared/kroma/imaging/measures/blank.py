"""Does a picture show anything: the standard deviation of lightness as a measure of contrast.

Gonzalez and Woods, Digital Image Processing, 4th ed., section 3.3.
"""

from typing import Final

import numpy as np

from kroma.imaging.measures.gray import WORK_PX, Gray, at_most

FULL_CONTRAST: Final = 16.0
"""Deviation, in levels of 255, of a picture that is not blank at all; a misty night has twice that."""


def contrast(gray: Gray) -> float:
    """Standard deviation of lightness, in levels of 255, after averaging small areas to ignore noise."""
    return float(np.std(at_most(gray, WORK_PX)))


def content(gray: Gray) -> float:
    """``min(1, contrast / 16)``."""
    return min(1.0, contrast(gray) / FULL_CONTRAST)
