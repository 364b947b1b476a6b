"""Warmer or cooler light: chromatic adaptation between two points of the daylight locus."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

_TO_XYZ: Final = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
"""Linear sRGB to CIE XYZ under D65 (IEC 61966-2-1)."""
_BRADFORD: Final = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
"""XYZ to cone responses (Lam's Bradford transform)."""
_D65_KELVIN: Final = 6504.0


def temperature_matrix(mired: float) -> NDArray[np.float32] | None:
    """A (3, 3) matrix for linear sRGB that shifts the white point by -100 to 100 mired; None for 0."""
    if mired == 0:
        return None
    target = 1e6 / (1e6 / _D65_KELVIN + mired)
    cones_from, cones_to = _BRADFORD @ _white(_D65_KELVIN), _BRADFORD @ _white(target)
    adapt = np.linalg.inv(_BRADFORD) @ np.diag(cones_to / cones_from) @ _BRADFORD
    matrix = np.linalg.inv(_TO_XYZ) @ adapt @ _TO_XYZ
    # Keep the luminance of gray.
    luminance = float(_TO_XYZ[1] @ matrix @ np.ones(3))
    return (matrix / luminance).astype(np.float32)


def _white(kelvin: float) -> NDArray[np.float64]:
    """XYZ of daylight (CIE 15, 4,000 to 25,000 K), clamped at 3,900 K."""
    t = max(kelvin, 3900.0)
    if t <= 7000:  # noqa: PLR2004 - where the CIE's two polynomials meet
        x = 0.244063 + 0.09911e3 / t + 2.9678e6 / t**2 - 4.6070e9 / t**3
    else:
        x = 0.237040 + 0.24748e3 / t + 1.9018e6 / t**2 - 2.0064e9 / t**3
    y = -3.000 * x * x + 2.870 * x - 0.275
    return np.array([x / y, 1.0, (1 - x - y) / y])
