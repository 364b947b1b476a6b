"""Is there anything to see: the standard deviation of lightness.

Gonzalez and Woods, Digital Image Processing, 4th ed., section 3.3: the deviation of a histogram as
the measure of contrast.
"""

from typing import Final

import numpy as np

from kroma.imaging.measures.gray import WORK_PX, Gray, at_most

FULL_CONTRAST: Final = 16.0
"""Deviation, in levels of 255, from which a picture is not blank at all; a misty night has twice that."""


def contrast(gray: Gray) -> float:
    """Standard deviation of lightness, in levels of 255, over areas: fine noise on a blank is no content."""
    return float(np.std(at_most(gray, WORK_PX)))


def content(gray: Gray) -> float:
    """``min(1, contrast / 16)``."""
    return min(1.0, contrast(gray) / FULL_CONTRAST)
