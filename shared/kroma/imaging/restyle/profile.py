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
_BLOCK_PX: Final = 48
"""Side of the squares in which hatching is looked for: some strokes fit, one outline does not fill it."""
_STROKE_PX: Final = (2.8, 13.0)
"""Distances of strokes that are looked for, at the measured size."""
_SHADED: Final = 0.08
"""Deviation of a square that holds more than paper."""
_HATCHED: Final = 0.5
"""Share of a square's variance in one regular wave: photographs and outlines stay below."""
_LEAST_PAPER: Final = 200
"""Pixels of paper that say something."""
_NEUTRAL_CHROMA: Final = 1.2
"""Mean LAB chroma below which a reference is gray; what JPEG leaves on gray paper stays under it."""


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
    hatching: float
    """0: no hatching found. 1: most of what is shaded is hatched."""
    stroke_period: float
    """Distance of hatching strokes in thousandths of the reference's scale; 0 where none was found."""
    stroke_angle: float
    """Across the strokes, 0 to 180 degrees; 0 where none was found."""
    palette: tuple[tuple[float, float], ...]
    """LAB a and b over the tone, at ``LEVELS`` even steps from black to white; zeros for gray."""
    chroma_spread: tuple[float, float]
    """Deviation of LAB a and b."""

    @property
    def is_gray(self) -> bool:
        return not any(a or b for a, b in self.palette) and not any(self.chroma_spread)


PLAIN_INK: Final = StyleProfile(
    paper=0.97,
    ink=0.05,
    tones=tuple(float(t) for t in np.linspace(0.05, 0.97, LEVELS)),
    two_tone=0.8,
    line_weight=1.0,
    grain=0.012,
    hatching=0.0,
    stroke_period=0.0,
    stroke_angle=0.0,
    palette=((0.0, 0.0),) * LEVELS,
    chroma_spread=(0.0, 0.0),
)
"""Noir ink, for an order without references."""


def summary(style: StyleProfile) -> dict[str, float]:
    """What was found, for a person to read: without the curves."""
    whole = msgspec.structs.asdict(style)
    return {name: value for name, value in whole.items() if isinstance(value, float)}


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
        hatching=mean([profile.hatching for profile in found]),
        stroke_period=_strongest(found).stroke_period,
        stroke_angle=_strongest(found).stroke_angle,
        palette=tuple((round(float(a), 3), round(float(b), 3)) for a, b in palettes),
        chroma_spread=(spread[0], spread[1]),
    )


def with_color_of(style: StyleProfile, other: StyleProfile, *, share: float) -> StyleProfile:
    """The hand of ``style`` with a share of another's colors."""

    def mixed(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
        a, b = (round(one + (two - one) * share, 3) for one, two in zip(first, second, strict=True))
        return a, b

    palette = tuple(mixed(*colors) for colors in zip(style.palette, other.palette, strict=True))
    spread = mixed(style.chroma_spread, other.chroma_spread)
    return msgspec.structs.replace(style, palette=palette, chroma_spread=spread)


def _strongest(profiles: Sequence[StyleProfile]) -> StyleProfile:
    """Whose hatching shows most: a mean of two directions is nobody's."""
    return max(profiles, key=lambda profile: profile.hatching)


def _measure_one(reference: NDArray[np.uint8]) -> StyleProfile:
    height, width = reference.shape[:2]
    factor = min(1.0, MEASURED_PX / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = np.asarray(cv2.resize(reference, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    tone = as_tone(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)) / np.float32(255.0)
    palette, spread = _colors(small)
    ink, paper = percentile(tone, 1.0, 96.0)
    area = blur(tone, 0.012 * max(size))
    tones = percentile(area, *np.linspace(1.0, 99.0, LEVELS))
    paper = max(paper, ink + 0.2)
    hatching, period, angle = _hatching(tone)
    return StyleProfile(
        paper=min(1.0, paper),
        ink=max(0.0, ink),
        tones=tuple(tones),
        two_tone=two_tone_share(tone, ink, paper),
        line_weight=_line_weight(tone),
        grain=_grain(tone),
        hatching=hatching,
        stroke_period=period,
        stroke_angle=angle,
        palette=palette,
        chroma_spread=spread,
    )


def _colors(rgb: NDArray[np.uint8]) -> tuple[tuple[tuple[float, float], ...], tuple[float, float]]:
    """LAB a and b over the tone, and their spread."""
    lab = as_tone(cv2.cvtColor(as_tone(rgb) / np.float32(255.0), cv2.COLOR_RGB2LAB)).reshape(-1, 3)
    if float(np.abs(lab[:, 1:]).mean()) < _NEUTRAL_CHROMA:
        return ((0.0, 0.0),) * LEVELS, (0.0, 0.0)
    level = np.clip(np.rint(lab[:, 0] / 100.0 * (LEVELS - 1)), 0, LEVELS - 1).astype(np.intp)
    counts = np.bincount(level, minlength=LEVELS).astype(np.float64)
    # Levels the reference hardly has take their neighbors' color.
    reach = np.exp(-0.5 * ((np.arange(LEVELS)[:, None] - np.arange(LEVELS)[None, :]) / 1.5) ** 2) + 1e-6
    weight = reach @ counts
    channels = [reach @ np.bincount(level, lab[:, c], LEVELS) / weight for c in (1, 2)]
    spread = lab[:, 1:].std(axis=0)
    palette = tuple((float(a), float(b)) for a, b in zip(*channels, strict=True))
    return palette, (float(spread[0]), float(spread[1]))


def two_tone_share(tone: Tone, ink: float, paper: float) -> float:
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
    """Deviation left where light paper is at its calmest."""
    residue = as_tone(tone - blur(tone, 1.5))
    local = np.sqrt(np.maximum(blur(as_tone(residue * residue), 4.0), 0.0))
    light = local[blur(tone, 4.0) > 0.8]  # noqa: PLR2004 - paper or a thin wash
    if light.size < _LEAST_PAPER:
        light = local
    return float(np.clip(np.percentile(light, 4.0), 0.0, 0.04))


def _hatching(tone: Tone) -> tuple[float, float, float]:
    """How much is hatched, and the strokes' distance and direction: one peak in the spectrum of a square."""
    rows, columns = tone.shape[0] // _BLOCK_PX, tone.shape[1] // _BLOCK_PX
    if not rows or not columns:
        return 0.0, 0.0, 0.0
    grid = tone[: rows * _BLOCK_PX, : columns * _BLOCK_PX].reshape(rows, _BLOCK_PX, columns, _BLOCK_PX)
    squares = grid.swapaxes(1, 2).reshape(-1, _BLOCK_PX, _BLOCK_PX)
    squares = squares - squares.mean(axis=(1, 2), keepdims=True)
    window = np.hanning(_BLOCK_PX)
    power = np.abs(np.fft.rfft2(squares * np.outer(window, window))) ** 2
    down, across = np.fft.fftfreq(_BLOCK_PX)[:, None], np.fft.rfftfreq(_BLOCK_PX)[None, :]
    frequency = np.hypot(down, across)
    wanted = (frequency > 1.0 / _STROKE_PX[1]) & (frequency < 1.0 / _STROKE_PX[0])
    count, _, width = power.shape
    # With its neighbors: the window spreads a wave over them.
    turns = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    near = sum((np.roll(power, turn, axis=(1, 2)) for turn in turns), start=np.zeros_like(power))
    peak = np.where(wanted, power, 0.0).reshape(count, -1).argmax(axis=1)
    share = near.reshape(count, -1)[np.arange(count), peak] / (power.sum(axis=(1, 2)) + 1e-9)
    hatched = (share > _HATCHED) & (squares.std(axis=(1, 2)) > _SHADED)
    if not hatched.any():
        return 0.0, 0.0, 0.0
    row, column = np.divmod(peak[hatched], width)
    waves = frequency[row, column]
    angles = np.degrees(np.arctan2(down[row, 0], across[0, column])) % 180.0
    scale = float(np.sqrt(tone.size)) / 1000.0
    found = float(np.clip(2.5 * hatched.mean(), 0.0, 1.0))
    return round(found, 4), round(float(np.median(1.0 / waves)) / scale, 2), round(_usual(angles), 1)


def _usual(angles: NDArray[np.float64]) -> float:
    """The most frequent direction, within 10 degrees."""
    counts = [np.sum(np.abs((angles - middle + 90.0) % 180.0 - 90.0) < 10.0) for middle in angles]  # noqa: PLR2004 - degrees
    return float(angles[int(np.argmax(counts))])
