"""What the style references look like, measured."""

from collections.abc import Sequence
from typing import Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from kroma.imaging.restyle.field import Tone, as_tone, blur, gradient, percentile

MEASURED_PX: Final = 640
"""References are measured at this longer side: the hand shows, and it takes milliseconds."""
LEVELS: Final = 33
_END: Final = 0.22
"""Share of the tones, at either end, that counts as ink or paper."""
_NEUTRAL_CHROMA: Final = 1.2
"""Mean LAB chroma below which a reference is grey; what JPEG leaves on grey paper stays under it."""


class StyleProfile(msgspec.Struct, frozen=True):
    """The hand of one or several references."""

    paper: float
    """Tone of the untouched paper."""
    ink: float
    """Tone of the deepest ink."""
    tones: tuple[float, ...]
    """Area tones at ``LEVELS`` even quantiles, rising."""
    two_tone: float
    """1: all ink and paper, tone made by strokes. 0: continuous tone."""
    line_weight: float
    """Width of thin dark marks, 1 for a medium pen."""
    grain: float
    """Deviation of flat areas."""
    palette: tuple[tuple[float, float], ...]
    """LAB a and b over the tone, at ``LEVELS`` even steps from black to white; zeros for grey."""
    chroma_spread: tuple[float, float]
    """Deviation of LAB a and b."""

    @property
    def is_grey(self) -> bool:
        """Whether the references carry no colour at all."""
        return not any(a or b for a, b in self.palette) and not any(self.chroma_spread)


PLAIN_INK: Final = StyleProfile(
    paper=0.97,
    ink=0.05,
    tones=tuple(float(t) for t in np.linspace(0.05, 0.97, LEVELS)),
    two_tone=0.8,
    line_weight=1.0,
    grain=0.012,
    palette=((0.0, 0.0),) * LEVELS,
    chroma_spread=(0.0, 0.0),
)
"""Noir ink, for an order without references."""


def measure(references: Sequence[NDArray[np.uint8]]) -> StyleProfile:
    """The average hand of the references.

    Args:
        references: (height, width, 3) uint8 each.
    """
    if not references:
        return PLAIN_INK
    found = [_measure_one(reference) for reference in references]

    def mean(values: list[float]) -> float:
        return round(float(np.mean(values)), 4)

    def column(name: str) -> tuple[float, ...]:
        rows = np.array([getattr(profile, name) for profile in found], dtype=np.float64)
        return tuple(round(float(value), 4) for value in rows.mean(axis=0))

    palettes = np.array([profile.palette for profile in found]).mean(axis=0)
    spread = column("chroma_spread")
    return StyleProfile(
        paper=mean([profile.paper for profile in found]),
        ink=mean([profile.ink for profile in found]),
        tones=column("tones"),
        two_tone=mean([profile.two_tone for profile in found]),
        line_weight=mean([profile.line_weight for profile in found]),
        grain=mean([profile.grain for profile in found]),
        palette=tuple((round(float(a), 3), round(float(b), 3)) for a, b in palettes),
        chroma_spread=(spread[0], spread[1]),
    )


def _measure_one(reference: NDArray[np.uint8]) -> StyleProfile:
    height, width = reference.shape[:2]
    factor = min(1.0, MEASURED_PX / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = np.asarray(cv2.resize(reference, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    tone = as_tone(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)) / np.float32(255.0)
    palette, spread = _colours(small)
    ink, paper = percentile(tone, 1.0, 96.0)
    area = blur(tone, 0.012 * max(size))
    tones = percentile(area, *np.linspace(1.0, 99.0, LEVELS))
    paper = max(paper, ink + 0.2)
    return StyleProfile(
        paper=min(1.0, paper),
        ink=max(0.0, ink),
        tones=tuple(tones),
        two_tone=_two_tone(tone, ink, paper),
        line_weight=_line_weight(tone),
        grain=_grain(tone),
        palette=palette,
        chroma_spread=spread,
    )


def _colours(rgb: NDArray[np.uint8]) -> tuple[tuple[tuple[float, float], ...], tuple[float, float]]:
    """LAB a and b over the tone, and their spread."""
    lab = as_tone(cv2.cvtColor(as_tone(rgb) / np.float32(255.0), cv2.COLOR_RGB2LAB)).reshape(-1, 3)
    if float(np.abs(lab[:, 1:]).mean()) < _NEUTRAL_CHROMA:
        return ((0.0, 0.0),) * LEVELS, (0.0, 0.0)
    level = np.clip(np.rint(lab[:, 0] / 100.0 * (LEVELS - 1)), 0, LEVELS - 1).astype(np.intp)
    counts = np.bincount(level, minlength=LEVELS).astype(np.float64)
    # Levels the reference hardly has take their neighbours' colour.
    reach = np.exp(-0.5 * ((np.arange(LEVELS)[:, None] - np.arange(LEVELS)[None, :]) / 1.5) ** 2) + 1e-6
    weight = reach @ counts
    channels = [reach @ np.bincount(level, lab[:, c], LEVELS) / weight for c in (1, 2)]
    spread = lab[:, 1:].std(axis=0)
    palette = tuple((float(a), float(b)) for a, b in zip(*channels, strict=True))
    return palette, (float(spread[0]), float(spread[1]))


def _two_tone(tone: Tone, ink: float, paper: float) -> float:
    """Share of pixels at either end, scaled so that an even spread is 0."""
    relative = (tone - np.float32(ink)) / np.float32(max(0.05, paper - ink))
    ends = float(np.mean((relative < _END) | (relative > 1.0 - _END)))
    return float(np.clip((ends - 2.0 * _END) / 0.46, 0.0, 1.0))


def _line_weight(tone: Tone) -> float:
    """Mean width of dark marks: their area over half their outline, against a 3 px pen."""
    dark = tone < blur(tone, 6.0) - np.float32(0.08)
    dx, dy = gradient(as_tone(dark))
    outline = float(np.sum(np.hypot(dx, dy)))
    if outline < 1.0:
        return 1.0
    return float(np.clip(2.0 * float(dark.sum()) / outline / 3.0, 0.6, 1.8))


def _grain(tone: Tone) -> float:
    """Deviation left in the flattest quarter of the picture."""
    residue = as_tone(tone - blur(tone, 1.5))
    local = np.sqrt(np.maximum(blur(as_tone(residue * residue), 4.0), 0.0))
    return float(np.clip(percentile(as_tone(local), 25.0)[0], 0.0, 0.04))
