"""The scene's tones by day, and what of it is open sky or ground."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from kroma.imaging.restyle.field import Tone, as_tone, blur, gradient, grown, percentile, shrunk

_MATCH: Final = 0.55
"""How far the scene's tones move to the references': all the way would lose the scene's own light."""

_SAME_FIELD: Final = 0.002
"""Variance of tones below which places belong together."""


def match_tones(tone: Tone, targets: Sequence[float], *, contrast: float, scale: float) -> Tone:
    """The scene's tones, moved towards the references' distribution, their detail kept.

    Args:
        tone: (height, width), 0 to 1.
        targets: The references' tones at even quantiles, rising.
        contrast: Of the result around its middle.
        scale: Pixels per thousandth of the picture.
    """
    ranks = percentile(tone, *np.linspace(1.0, 99.0, len(targets)))
    rising = np.maximum.accumulate(np.array(ranks) + np.arange(len(ranks)) * 1e-5)
    table_x = np.linspace(0.0, 1.0, 256)
    matched = np.interp(table_x, rising, np.array(targets))
    table = as_tone(table_x + (matched - table_x) * _MATCH)
    moved = table[np.clip(tone * 255.0, 0, 255).astype(np.uint8)]
    # Local contrast: forms stand against what is around them, as one draws them.
    around = blur(moved, 45.0 * scale)
    local = moved + np.float32(0.45) * (moved - around)
    middle = np.float32(0.5)
    return as_tone(np.clip((local - middle) * np.float32(contrast) + middle, 0.0, 1.0))


def daylight(tone: Tone) -> Tone:
    """Light that reads easily: a dark scene is lifted, a bright one left."""
    (median,) = percentile(tone, 50.0)
    target = max(median, 0.52)
    gamma = np.log(target) / np.log(min(max(median, 0.05), 0.95))
    return as_tone(np.power(tone, np.float32(np.clip(gamma, 0.45, 1.0))))


def open_sky(tone: Tone, scale: float) -> Tone:
    """How far each pixel belongs to a smooth field that reaches the upper edge, 0 to 1."""
    return _field_from_edge(tone, scale, from_top=True)


def open_ground(tone: Tone, scale: float) -> Tone:
    """The same for a smooth field that reaches the lower edge."""
    return _field_from_edge(tone, scale, from_top=False)


def _field_from_edge(tone: Tone, scale: float, *, from_top: bool) -> Tone:
    small = shrunk(tone)
    dx, dy = gradient(blur(small, max(0.5, 0.8 * scale)))
    smooth = np.hypot(dx, dy) < 0.02  # noqa: PLR2004 - tone per pixel of the quarter-size picture
    _, labels = cv2.connectedComponents(smooth.astype(np.uint8), connectivity=4)
    edge = labels[0] if from_top else labels[-1]
    touching, counts = np.unique(edge[edge > 0], return_counts=True)
    wide = touching[counts >= 0.12 * small.shape[1]]
    found = np.isin(labels, wide).astype(np.float32)
    # Over the edges, where it is not smooth; the filter takes it back to them.
    reach = 2 * max(1, round(1.6 * scale)) + 1
    grown = as_tone(cv2.dilate(found, np.ones((reach, reach), np.uint8)))
    return _up_to_edges(grown, small, tone, max(2, round(4.0 * scale)))


def _up_to_edges(mask: Tone, small: Tone, tone: Tone, radius: int) -> Tone:
    """A mask of a smaller picture, drawn out to the edges of the whole one (He's guided filter)."""
    side = (2 * radius + 1, 2 * radius + 1)
    mean_tone, mean_mask = cv2.blur(small, side), cv2.blur(mask, side)
    slope = (cv2.blur(small * mask, side) - mean_tone * mean_mask) / (
        cv2.blur(small * small, side) - mean_tone * mean_tone + np.float32(_SAME_FIELD)
    )
    base = mean_mask - slope * mean_tone
    shape = (tone.shape[0], tone.shape[1])
    slope, base = (grown(as_tone(cv2.blur(part, side)), shape) for part in (slope, base))
    return as_tone(np.clip(slope * tone + base, 0.0, 1.0))
