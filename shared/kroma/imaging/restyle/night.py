"""The light of a scene: by night dark shadows and lights that glow and fall off, by day one from a side."""

from typing import Final

import numpy as np

from kroma.imaging.restyle.field import (
    Tone,
    as_tone,
    blur,
    gradient,
    grown,
    percentile,
    positions,
    shrunk,
    smoothstep,
)
from kroma.imaging.restyle.light import open_sky
from kroma.imaging.restyle.lights import DayLight, Light, NightLight

_MEDIAN: Final = 0.075
"""Tone that half of the scene stays below: a night's, whatever it was by day."""
_LIT: Final = 0.82
"""Tone of its brightest places."""
_TURNED: Final = 0.72
"""How far along from the light to what it is turned to it shines brightest."""


def night(tone: Tone, detail: Tone, lit: NightLight, *, scale: float) -> tuple[Tone, Tone]:
    """The scene's tones by night, and the light in the air (0 to 1) that lies over the drawing.

    Lamps are the scene's own small highlights on dark ground; one light from out of the picture
    carries the rest. Nothing is added to the scene.

    Args:
        tone: (height, width), 0 to 1.
        detail: The same with its smallest lights.
        lit: This candidate's light.
        scale: Pixels per thousandth of the picture.
    """
    shape = (tone.shape[0], tone.shape[1])
    sky = open_sky(tone, scale)
    reached, near = falloff(shape, lit, focus(tone, scale))
    lamps = _lamps(detail, scale)
    glow = _glow(lamps, scale)
    surface = as_tone(np.power(tone, np.float32(1.15)))
    shone = np.float32(lit.ambient) + np.float32(lit.key) * reached * facing(tone, lit, scale)
    _, ys = positions(shape)
    # A night sky takes no light from lamps, and is darkest above.
    overhead = np.float32(0.90) - np.float32(0.35) * as_tone(ys / max(1, shape[0] - 1))
    shone = as_tone(shone * (np.float32(1.0) - sky * overhead))
    ground = _exposed(as_tone(surface * shone))
    ground = as_tone(ground + _rim(tone, lit, reached, scale) * np.float32(lit.rim))
    ground = as_tone(ground + surface * glow * np.float32(1.1) + lamps)
    air = as_tone(glow * np.float32(0.5) + lamps * np.float32(0.6) + near * np.float32(lit.haze))
    return as_tone(np.clip(ground, 0.0, 1.0)), as_tone(np.clip(air, 0.0, 1.0))


def day(tone: Tone, lit: DayLight, *, scale: float) -> Tone:
    """The scene's tones with the day's light from one side: shade where it does not reach."""
    shape = (tone.shape[0], tone.shape[1])
    reached, _ = falloff(shape, lit, focus(tone, scale))
    lit_share = np.minimum(reached * facing(tone, lit, scale) * np.float32(1.5), np.float32(1.0))
    return as_tone(tone * (np.float32(1.0) - np.float32(lit.shade) * (np.float32(1.0) - lit_share)))


def focus(tone: Tone, scale: float) -> tuple[float, float]:
    """Where the scene's forms are, as shares of its width and height: there the light is turned to."""
    dx, dy = gradient(blur(shrunk(tone), 0.75 * scale))
    forms = as_tone(np.hypot(dx, dy))
    height, width = forms.shape
    xs, ys = positions((height, width))
    total = float(forms.sum()) + 1e-6
    x = float((forms * xs).sum()) / total / width if width > 1 else 0.5
    y = float((forms * ys).sum()) / total / height if height > 1 else 0.5
    return float(np.clip(x, 0.3, 0.7)), float(np.clip(y - 0.08, 0.25, 0.65))


def falloff(shape: tuple[int, int], lit: Light, aim: tuple[float, float]) -> tuple[Tone, Tone]:
    """What reaches each place from the light, 0 to 1, and how far the air around the light shines.

    A point of light at height ``h`` over a plane gives ``cos / distance**2``, which is
    ``1 / (1 + (d / h)**2) ** 1.5`` of what it gives where it stands. It is turned to ``aim``: the
    plane lies askew to it, so that place is between the two.
    """
    height, width = max(1, shape[0] // 4), max(1, shape[1] // 4)
    diagonal = float(np.hypot(height, width))
    xs, ys = positions((height, width))
    middle = (lit.x + (aim[0] - lit.x) * _TURNED, lit.y + (aim[1] - lit.y) * _TURNED)

    def distance(position: tuple[float, float]) -> Tone:
        across = (xs - np.float32(position[0] * width)) / np.float32(diagonal)
        along = (ys - np.float32(position[1] * height)) / np.float32(diagonal)
        return as_tone(across**2 + along**2)

    reached = as_tone(1.0 / (1.0 + distance(middle) / np.float32(lit.reach**2)) ** np.float32(1.5))
    # Light scattered along the line of sight falls with the distance, not its square.
    air = as_tone(1.0 / (1.0 + np.sqrt(distance((lit.x, lit.y))) / np.float32(0.4 * lit.reach)))
    return grown(reached, shape), grown(as_tone(air * air), shape)


def _exposed(ground: Tone) -> Tone:
    """The tones between a night's median and its highlights."""
    middle, top = percentile(ground, 50.0, 98.5)
    top = max(top, 0.02)
    relative = min(max(middle / top, 0.02), 0.9)
    bend = float(np.clip(np.log(_MEDIAN / _LIT) / np.log(relative), 0.8, 2.4))
    even = np.clip(ground * np.float32(1.0 / top), 0.0, 1.2)
    return as_tone(np.power(even, np.float32(bend)) * np.float32(_LIT))


def _rim(tone: Tone, lit: NightLight, fall: Tone, scale: float) -> Tone:
    """Light on the outlines that face the light."""
    soft = blur(tone, 1.6 * scale)
    dx, dy = gradient(soft)
    towards_x, towards_y = _towards(lit)
    # Brighter away from the light: the surface begins here, with its face to it.
    caught = np.maximum(-(dx * np.float32(towards_x) + dy * np.float32(towards_y)), 0.0)
    edge = smoothstep(0.012, 0.05, as_tone(caught * np.float32(scale)))
    # Pale things are backdrops as often as not: light on them would stand around what is before them.
    taken = np.float32(0.5) * (np.float32(1.0) - smoothstep(0.55, 0.85, soft))
    return as_tone(edge * np.minimum(fall * np.float32(1.4), 1.0) * taken)


def _towards(lit: Light) -> tuple[float, float]:
    """Unit vector from the picture's middle to the light."""
    x, y = lit.x - 0.5, lit.y - 0.5
    length = max(0.1, float(np.hypot(x, y)))
    return x / length, y / length


def facing(tone: Tone, lit: Light, scale: float) -> Tone:
    """Which way surfaces turn, read from their shading: 0.2 away from the light, 1 towards it."""
    dx, dy = gradient(blur(shrunk(tone), 2.25 * scale))
    towards_x, towards_y = _towards(lit)
    turned = as_tone(dx * np.float32(towards_x) + dy * np.float32(towards_y))
    turned_to = np.float32(0.6) + np.float32(0.4) * np.tanh(turned * np.float32(30.0 * scale))
    return grown(as_tone(turned_to), (tone.shape[0], tone.shape[1]))


def _lamps(tone: Tone, scale: float) -> Tone:
    """Small bright places on dark ground: a bright wall is no lamp, nor is paper between lines."""
    high, top = percentile(tone, 95.0, 99.6)
    low = min(max(high, 0.55), 0.85)
    bright = smoothstep(low, max(min(top, 0.98), low + 0.08), tone)
    spread = blur(bright, 28.0 * scale)
    over_ground = as_tone(tone - blur(tone, 45.0 * scale))
    alone = (np.float32(1.0) - smoothstep(0.16, 0.40, spread)) * smoothstep(0.30, 0.50, over_ground)
    return as_tone(bright * alone)


def _glow(lamps: Tone, scale: float) -> Tone:
    """Light around the lamps: the sum of four widths falls off nearly as the square of the distance."""
    small = shrunk(lamps)
    total = np.zeros_like(small)
    for sigma, weight in ((5.0, 1.0), (14.0, 1.4), (38.0, 1.8), (95.0, 2.2)):
        total += blur(small, 0.25 * sigma * scale) * np.float32(weight)
    glow = np.float32(1.0) - np.exp(-total * np.float32(1.5))
    return grown(as_tone(glow), (lamps.shape[0], lamps.shape[1]))
