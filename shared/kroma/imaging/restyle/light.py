"""The scene's tones, and its light by day and by night."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from kroma.imaging.restyle.field import (
    Tone,
    as_tone,
    blur,
    gradient,
    mix,
    noise,
    percentile,
    places,
    smoothstep,
)
from kroma.imaging.restyle.recipe import Recipe

_MATCH: Final = 0.55
"""How far the scene's tones move to the references': all the way would lose the scene's own light."""


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


def night(tone: Tone, recipe: Recipe, *, scale: float, rng: np.random.Generator) -> Tone:
    """The scene by night: dark, cool shadows that keep their forms, local lights that fall off.

    Lamps are the scene's own small highlights; where it has none, one light from beside the
    picture carries it. Nothing is added to the scene.
    """
    height, width = tone.shape
    lamps = _lamps(tone, scale)
    glow = _glow(lamps, scale)
    pool = _pool(tone, recipe, rng)
    facing = _facing(tone, recipe, scale)
    sky = open_sky(tone, scale)
    _, ys = places((height, width))
    overhead = as_tone(0.30 + 0.35 * ys / max(1, height - 1))  # a night sky is darkest above
    ambient = as_tone(np.power(tone, np.float32(1.3)) * np.float32(0.17))
    lit = np.power(tone, np.float32(1.1)) * (
        np.float32(0.80) * pool * (np.float32(0.75) + np.float32(0.6) * facing)
    )
    base = as_tone(ambient + lit)
    base = mix(base, tone * overhead * np.float32(0.24), sky * np.float32(0.9))
    lamplight = as_tone(tone * glow * np.float32(0.85) + lamps * np.float32(0.75))
    return as_tone(np.clip(base + lamplight, 0.0, 1.0))


def open_sky(tone: Tone, scale: float) -> Tone:
    """How far each pixel belongs to a bright, smooth field that reaches the upper edge, 0 to 1."""
    return _field_from_edge(tone, scale, from_top=True)


def open_ground(tone: Tone, scale: float) -> Tone:
    """The same for a smooth field that reaches the lower edge."""
    return _field_from_edge(tone, scale, from_top=False)


def _field_from_edge(tone: Tone, scale: float, *, from_top: bool) -> Tone:
    height, width = tone.shape
    size = (max(1, width // 4), max(1, height // 4))
    small = as_tone(cv2.resize(tone, size, interpolation=cv2.INTER_AREA))
    dx, dy = gradient(blur(small, max(0.5, 0.8 * scale)))
    smooth = np.hypot(dx, dy) < 0.02  # noqa: PLR2004 - tone per pixel of the quarter-size picture
    bright = small > (0.5 if from_top else 0.0)
    _, labels = cv2.connectedComponents((smooth & bright).astype(np.uint8), connectivity=4)
    edge = labels[0] if from_top else labels[-1]
    touching, counts = np.unique(edge[edge > 0], return_counts=True)
    wide = touching[counts >= 0.12 * size[0]]
    found = np.isin(labels, wide).astype(np.float32)
    closed = cv2.morphologyEx(found, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    soft = blur(as_tone(closed), max(0.6, 1.6 * scale))
    return as_tone(np.clip(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR), 0.0, 1.0))


def _lamps(tone: Tone, scale: float) -> Tone:
    """Small bright places; a bright wall or sky is no lamp."""
    high, top = percentile(tone, 96.0, 99.6)
    bright = smoothstep(max(high, 0.55), max(top, high + 0.08, 0.7), tone)
    around = blur(bright, 28.0 * scale)
    return as_tone(bright * (np.float32(1.0) - smoothstep(0.16, 0.42, around)))


def _glow(lamps: Tone, scale: float) -> Tone:
    """Light around the lamps, near and far."""
    near, far = blur(lamps, 10.0 * scale), blur(lamps, 55.0 * scale)
    return as_tone(np.clip(near * np.float32(1.6) + far * np.float32(2.6), 0.0, 1.0))


def _pool(tone: Tone, recipe: Recipe, rng: np.random.Generator) -> Tone:
    """One light from beside the picture, falling off over it; what stands out is inside."""
    height, width = tone.shape
    xs, ys = places((height, width))
    side = recipe.light_from
    centre_x = width * (0.5 + 0.12 * side + float(rng.uniform(-0.04, 0.04)))
    centre_y = height * (0.36 + float(rng.uniform(-0.05, 0.05)))
    reach = 0.42 * float(np.hypot(height, width))
    distance = ((xs - np.float32(centre_x)) / np.float32(reach)) ** 2 + (
        (ys - np.float32(centre_y)) / np.float32(reach * 1.15)
    ) ** 2
    falloff = as_tone(1.0 / (1.0 + 3.2 * distance) ** 1.5)
    uneven = noise((height, width), (width / 5 + 1, height / 5 + 1), rng)
    return as_tone(np.clip(falloff * (np.float32(1.0) + np.float32(0.08) * uneven), 0.0, 1.0))


def _facing(tone: Tone, recipe: Recipe, scale: float) -> Tone:
    """Which way surfaces turn, read from their shading: 0 away from the light, 1 towards it."""
    dx, dy = gradient(blur(tone, 9.0 * scale))
    towards = as_tone(-(dx * np.float32(-recipe.light_from) + dy * np.float32(-0.6)))
    return as_tone(np.float32(0.45) + np.float32(0.45) * np.tanh(towards * np.float32(140.0 * scale)))
