"""How similar is a candidate to the style references in tone, color and line.

Tone and color: the mean distance between quantiles of CIELAB L, a and b, which is the earth mover's distance
in one dimension (Rubner, Tomasi, Guibas: The earth mover's distance as a metric for image retrieval, IJCV 40,
2000). Color statistics per channel capture the look of a picture (Reinhard et al., Color transfer between
images, 2001). Line: the distribution of contrast over the octaves of a Laplacian pyramid (Burt, Adelson: The
Laplacian pyramid as a compact image code, 1983; Heeger, Bergen: Pyramid-based texture analysis, 1995).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from kroma.imaging.measures.gray import Rgb, resized, size_at

STYLE_PX: Final = 384
"""Longer side at which style is compared: shows drawing technique."""
OCTAVES: Final = 4
TONE_SCALE: Final = 40.0
"""Distance in L at which the score falls to 1/e; two pages by one artist are 10 to 25 apart."""
COLOR_SCALE: Final = 20.0
"""The same in a and b: a clear tint."""
LINE_SCALE: Final = 1.5
"""The same in natural logarithms of relative contrast per octave."""
_QUANTILES: Final = np.linspace(0.02, 0.98, 33)
_FLOOR: Final = 0.3
"""Levels of L added to every deviation, to suppress noise."""


@dataclass(frozen=True, slots=True)
class Look:
    """Measured appearance of a picture."""

    tones: NDArray[np.float64]
    """33 quantiles of L, 0 to 100."""
    colors: NDArray[np.float64]
    """(2, 33): quantiles of a and b."""
    octaves: NDArray[np.float64]
    """Logarithm of each octave's deviation over the whole picture's."""


@dataclass(frozen=True, slots=True)
class Distance:
    """The distance between two looks."""

    tone: float
    color: float
    line: float

    def score(self, *, with_tone: bool) -> float:
        """``exp(-(tone / 40 + color / 20 + line / 1.5))``; tone is left out if the light was changed."""
        total = self.color / COLOR_SCALE + self.line / LINE_SCALE
        return float(np.exp(-(total + self.tone / TONE_SCALE if with_tone else total)))


def look_of(rgb: Rgb) -> Look:
    """Measure a picture."""
    small = resized(rgb, size_at(rgb.shape, STYLE_PX))
    lab = np.asarray(cv2.cvtColor(small.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB), dtype=np.float32)
    light = np.ascontiguousarray(lab[..., 0])
    curves = np.array([quantiles(lab[..., channel]) for channel in range(3)])
    deviations = np.log(_band_deviations(light) + _FLOOR) - np.log(float(light.std()) + _FLOOR)
    return Look(tones=curves[0], colors=curves[1:], octaves=deviations)


def quantiles(channel: NDArray[np.float32]) -> NDArray[np.float64]:
    """As ``np.quantile``, but four times faster for this number of quantiles."""
    ordered = np.sort(channel, axis=None)
    positions = _QUANTILES * (ordered.size - 1)
    below = positions.astype(np.intp)
    above = np.minimum(below + 1, ordered.size - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (positions - below)


def _band_deviations(light: NDArray[np.float32]) -> NDArray[np.float64]:
    found: list[float] = []
    rest = light
    for _ in range(OCTAVES):
        low = np.asarray(cv2.GaussianBlur(rest, (0, 0), 1.5), dtype=np.float32)
        found.append(float(np.std(rest - low)))
        half = (max(1, low.shape[1] // 2), max(1, low.shape[0] // 2))
        rest = np.asarray(cv2.resize(low, half, interpolation=cv2.INTER_AREA), dtype=np.float32)
    return np.array(found)


def averaged(looks: Sequence[Look]) -> Look:
    """The mean of several looks."""
    return Look(
        tones=np.mean([look.tones for look in looks], axis=0),
        colors=np.mean([look.colors for look in looks], axis=0),
        octaves=np.mean([look.octaves for look in looks], axis=0),
    )


def distance(one: Look, other: Look) -> Distance:
    """The distance between two looks."""
    colors = np.abs(one.colors - other.colors).mean(axis=1)
    return Distance(
        tone=float(np.abs(one.tones - other.tones).mean()),
        color=float(np.hypot(colors[0], colors[1])),
        line=float(np.abs(one.octaves - other.octaves).mean()),
    )


def colors_kept(look: Look, scene: Look) -> float:
    """``exp(-color / 10)``: twice as strict as with references, which could explain new colors."""
    return float(np.exp(-2.0 * distance(look, scene).color / COLOR_SCALE))


def style_kept(look: Look, references: Sequence[Look], *, with_tone: bool) -> float:
    """The best score among the references and their mean; there must be at least one reference."""
    models = [*references, averaged(references)]
    return max(distance(look, model).score(with_tone=with_tone) for model in models)
