"""Rain: a dull light before the drawing; haze, wet ground and streaks in depth over it."""

from typing import Final, NamedTuple

import cv2
import numpy as np

from kroma.imaging.restyle.field import (
    Tone,
    as_tone,
    blur,
    forms,
    gradient,
    grown,
    mix,
    noise,
    percentile,
    positions,
    shrunk,
    smoothstep,
)
from kroma.imaging.restyle.light import open_ground, open_sky
from kroma.imaging.restyle.lights import Rainfall


class Depth(NamedTuple):
    """One layer of falling rain, from far to near."""

    per_megapixel: int
    length: float
    """In thousandths of the picture, as all lengths here."""
    width: float
    strength: float


DEPTHS: Final = (
    Depth(per_megapixel=2100, length=26.0, width=0.9, strength=0.42),
    Depth(per_megapixel=620, length=70.0, width=1.5, strength=0.78),
    Depth(per_megapixel=85, length=150.0, width=2.3, strength=0.9),
)
_SHADES: Final = 5
_FRONT: Final = 0.76
"""Where the wet strip in front begins, as a share of the height, in a scene that shows no ground."""
_LEAST_GROUND: Final = 0.02
"""Of the picture; less is a corner."""


class Ground(NamedTuple):
    """The wet ground of a scene."""

    wet: Tone
    """0 dry to 1."""
    standing: Tone
    """0 to 1: puddles."""
    line: float
    """Where it begins, as a share of the height: what it mirrors stands there."""


def overcast(tone: Tone, *, at_night: bool) -> Tone:
    """The tones under clouds: no hard light, all a little darker."""
    if at_night:
        return tone
    return as_tone(np.clip(np.float32(0.04) + tone * np.float32(0.86), 0.0, 1.0))


def wet_ground(tone: Tone, *, scale: float, rng: np.random.Generator) -> Ground:
    """Where level ground shines with water, and where the water stands.

    Ground is low in the picture and calm: what has forms is kept as it is.
    """
    shape = (tone.shape[0], tone.shape[1])
    _, ys = positions(shape)
    down = np.broadcast_to(as_tone(ys / max(1, shape[0] - 1)), shape)
    # Sky that reaches down between things is no ground.
    field = open_ground(tone, scale) * (np.float32(1.0) - open_sky(tone, scale))
    level = as_tone(field * smoothstep(0.56, 0.68, as_tone(down)))
    line = _ground_line(level)
    calm = smoothstep(0.022, 0.006, forms(tone, 14.0 * scale, scale=scale))
    # A strip in front is ground enough, where the scene shows none.
    front = smoothstep(0.74, 0.97, as_tone(down)) * (np.float32(0.4) + np.float32(0.6) * calm)
    wet = np.maximum(level * smoothstep(line - 0.02, line + 0.08, as_tone(down)), front)
    # Puddles: flat ovals that grow towards the viewer.
    depth = np.clip((down - np.float32(line - 0.05)) / np.float32(1.05 - line), 0.0, 1.0)
    cells = noise(shape, (200.0 * scale + 2, 46.0 * scale + 2), rng)
    xs = np.broadcast_to(positions(shape)[0], shape)
    rows = np.power(depth, np.float32(0.6)) * np.float32((1.0 - line) * (shape[0] - 1))
    puddles = as_tone(cv2.remap(cells, as_tone(xs), as_tone(rows), cv2.INTER_LINEAR))
    standing = smoothstep(0.0, 0.22, as_tone(puddles + np.float32(1.2) * wet - np.float32(0.75)))
    return Ground(
        wet=as_tone(wet), standing=as_tone(standing * smoothstep(0.25, 0.6, as_tone(wet))), line=line
    )


def _ground_line(level: Tone) -> float:
    """Where the ground begins, as a share of the height: nearly all of it lies below."""
    rows = level.sum(axis=1)
    total = float(rows.sum())
    if total < _LEAST_GROUND * level.size:
        return _FRONT
    share = float(np.searchsorted(np.cumsum(rows), 0.08 * total)) / max(1, len(rows) - 1)
    return float(np.clip(share, 0.62, 0.88))


def rained_on(
    drawing: Tone,
    flat: Tone,
    tone: Tone,
    rain: Rainfall,
    *,
    at_night: bool,
    scale: float,
    rng: np.random.Generator,
) -> Tone:
    """The drawing in rain: the distance grayed, the ground wet, streaks before it, splashes on it.

    Args:
        drawing: 0 ink to 1 paper.
        flat: The scene's tones without its lines, which tell forms from ground.
        tone: The same, lit.
        rain: This candidate's.
        at_night: Whether haze is dark.
        scale: Pixels per thousandth of the picture.
        rng: Of this candidate.
    """
    ground = wet_ground(flat, scale=scale, rng=rng)
    hazy = _hazed(drawing, flat, tone, ground.wet, share=rain.haze, at_night=at_night, scale=scale)
    shining = _mirrored(hazy, tone, ground, share=rain.wet, at_night=at_night, scale=scale, rng=rng)
    falling = _fallen(shining, rain, at_night=at_night, scale=scale, rng=rng)
    return _splashed(falling, flat, ground.standing, scale=scale, rng=rng)


def _hazed(
    drawing: Tone, flat: Tone, tone: Tone, wet: Tone, *, share: float, at_night: bool, scale: float
) -> Tone:
    """The distance behind a veil: what is high and calm is far, what has forms is near."""
    height = drawing.shape[0]
    _, ys = positions((height, drawing.shape[1]))
    far = as_tone(np.clip(np.float32(1.05) - ys / np.float32(0.8 * height), 0.0, 1.0))
    near = smoothstep(0.003, 0.014, forms(flat, 22.0 * scale, scale=scale))
    (light,) = percentile(tone, 75.0)
    veil = 0.32 if at_night else float(np.clip(0.45 + 0.4 * light, 0.5, 0.82))
    if at_night:
        veil = min(veil, 0.10 + 0.6 * light)
    thick = as_tone(np.float32(0.6 * share) * far * (np.float32(1.0) - np.float32(0.85) * near))
    return mix(drawing, veil, as_tone(thick * (np.float32(1.0) - wet)))


def _mirrored(
    drawing: Tone,
    tone: Tone,
    ground: Ground,
    *,
    share: float,
    at_night: bool,
    scale: float,
    rng: np.random.Generator,
) -> Tone:
    """Ground darkened by water, the picture upside down in it, and light drawn out downwards."""
    shape = (drawing.shape[0], drawing.shape[1])
    height, width = shape
    xs, ys = positions(shape)
    wet, standing = ground.wet, ground.standing
    line = ground.line * (height - 1)
    ripple = noise(shape, (max(2.0, width / 7), max(2.0, 7.0 * scale)), rng) * np.float32(5.0 * scale)
    rows = np.clip(2.0 * line - ys, 0.0, line)
    map_y = as_tone(np.broadcast_to(rows, shape))
    flipped = cv2.remap(drawing, as_tone(xs + ripple), map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    drawn_out = as_tone(
        cv2.blur(flipped, (2 * max(1, round(3.0 * scale)) + 1, 2 * max(1, round(6.0 * scale)) + 1))
    )
    # As one draws water: level dashes, dense where it mirrors light.
    dashes = noise(shape, (max(2.0, 46.0 * scale), max(2.0, 3.2 * scale)), rng)
    light = np.float32(2.4) * (drawn_out - np.float32(0.35 if at_night else 0.5)) + np.float32(0.55) * dashes
    strokes = smoothstep(-0.35, 0.35, as_tone(light))
    water = as_tone(np.float32(0.05) + np.float32(0.9) * mix(drawn_out, strokes, 0.6))
    damp = as_tone(drawing * (np.float32(1.0) - np.float32(0.12 if at_night else 0.30) * wet))
    sheen = mix(damp, water, wet * np.float32(0.28 * share))
    pools = mix(sheen, water, standing * np.float32(share))
    shine = _drawn_down(tone, scale) * wet * (np.float32(0.35) + np.float32(0.4) * standing)
    lit = as_tone(pools + (np.float32(1.0) - pools) * shine * np.float32(0.75 if at_night else 0.4))
    # A thin light where water ends: its skin bends up there.
    rim = as_tone(standing * (np.float32(1.0) - standing) * np.float32(4.0))
    rim *= smoothstep(0.2, 0.6, noise(shape, (30.0 * scale + 1, 12.0 * scale + 1), rng))
    return mix(lit, 0.35 if at_night else 0.95, rim * np.float32(0.5))


def _drawn_down(tone: Tone, scale: float) -> Tone:
    """Bright places drawn out towards the viewer, as wet ground does."""
    bright = smoothstep(0.55, 0.9, shrunk(tone))
    tall = max(2, round(0.22 * bright.shape[0]))
    wide = 2 * max(0, round(1.0 * scale)) + 1
    smeared = cv2.blur(bright, (wide, tall), anchor=(wide // 2, tall - 1), borderType=cv2.BORDER_REPLICATE)
    clipped = np.clip(as_tone(smeared) * np.float32(2.2), 0.0, 1.0)
    return grown(as_tone(clipped), (tone.shape[0], tone.shape[1]))


def _fallen(drawing: Tone, rain: Rainfall, *, at_night: bool, scale: float, rng: np.random.Generator) -> Tone:
    """Streaks in three depths: white over the darks, thin dark ones over the lights."""
    shape = (drawing.shape[0], drawing.shape[1])
    below = blur(drawing, 5.0 * scale)
    gusts = np.float32(0.72) + np.float32(0.28) * noise(shape, (260.0 * scale + 2, 340.0 * scale + 2), rng)
    gusts = np.clip(gusts, 0.25, 1.0)
    rainy = drawing
    on_dark = np.float32(0.35) + np.float32(0.65) * smoothstep(0.85, 0.45, below)
    on_light = smoothstep(0.45, 0.85, below)
    for depth in DEPTHS:
        bright = as_tone(_streaks(shape, depth, rain, scale=scale, rng=rng) * gusts)
        strength = depth.strength * (0.8 if at_night else 1.0)
        rainy = mix(rainy, 0.98, as_tone(np.clip(bright * on_dark * np.float32(strength), 0.0, 0.95)))
        shifted = np.roll(bright, max(1, round(depth.width * scale)), axis=1)
        rainy = as_tone(rainy * (np.float32(1.0) - shifted * on_light * np.float32(0.6 * depth.strength)))
    return rainy


def _streaks(
    shape: tuple[int, int], depth: Depth, rain: Rainfall, *, scale: float, rng: np.random.Generator
) -> Tone:
    """One layer of streaks, each with two thin ends, 0 to 1."""
    height, width = shape
    layer = np.zeros(shape, dtype=np.uint8)
    length = depth.length * rain.length * scale
    drops = max(1, round(rain.density * depth.per_megapixel * height * width / 1e6 / max(scale, 0.3) ** 2))
    tilt = float(np.tan(np.radians(rain.slant)))
    margin = length * abs(tilt) + 2
    starts = rng.uniform([-margin, -length], [width + margin, height], (drops, 2))
    lengths = length * rng.uniform(0.5, 1.2, drops)
    shades = np.sort(rng.uniform(0.45, 1.0, drops))  # the strongest last, over the others
    width_px = max(1, round(depth.width * scale))
    step = np.stack([np.full(drops, tilt), np.ones(drops)], axis=1) * lengths[:, None]
    # Faint whole length first, then a stronger middle.
    for first, last, share in ((0.0, 1.0, 0.45), (0.22, 0.85, 1.0)):
        ends = np.stack([starts + step * first, starts + step * last], axis=1)
        points = np.rint(ends * 16).astype(np.int32)
        for group, group_shades in zip(
            np.array_split(points, _SHADES), np.array_split(shades, _SHADES), strict=True
        ):
            if len(group):
                shade = float(group_shades.mean())
                gray = (int(255 * shade * share),)
                cv2.polylines(layer, list(group), False, gray, width_px, cv2.LINE_AA, 4)  # noqa: FBT003 - OpenCV's
    return as_tone(layer) / np.float32(255.0)


def _splashed(drawing: Tone, tone: Tone, water: Tone, *, scale: float, rng: np.random.Generator) -> Tone:
    """Rings where drops meet wet ground, larger in front, and spray on edges that look up."""
    height, width = drawing.shape
    layer = np.zeros(drawing.shape, dtype=np.uint8)
    count = max(1, round(110 * height * width / 1e6 / max(scale, 0.3) ** 2))
    for x, y in rng.uniform([0, 0.5 * height], [width, height], (2 * count, 2)):
        if water[min(int(y), height - 1), min(int(x), width - 1)] < 0.5:  # noqa: PLR2004 - rather ground than water
            continue
        near = 0.35 + 0.75 * (y / height - 0.5) / 0.5
        across = max(1, round(9.0 * scale * near))
        center = (round(x), round(y))
        cv2.ellipse(layer, center, (across, max(1, round(0.3 * across))), 0, 0, 360, (150,), 1, cv2.LINE_AA)
    for x, y in _edges_that_look_up(tone, count, scale=scale, rng=rng):
        high, aside = scale * rng.uniform([3.0, -3.0], [8.0, 3.0])
        cv2.line(layer, (x, y), (round(x + aside), round(y - high)), (200,), 1, cv2.LINE_AA)
    return mix(drawing, 0.95, as_tone(layer) * np.float32(0.8 / 255.0))


def _edges_that_look_up(
    tone: Tone, count: int, *, scale: float, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Points on level upper edges of things, where rain bursts."""
    dx, dy = gradient(blur(shrunk(tone, 2), scale))
    steep = np.abs(dy)
    level = (steep * np.float32(0.5 * scale) > 0.02) & (steep > np.float32(2.0) * np.abs(dx))  # noqa: PLR2004 - tone per thousandth
    ys, xs = np.nonzero(level)
    if not len(xs):
        return []
    chosen = rng.integers(0, len(xs), min(count, len(xs)))
    return [(2 * int(xs[n]), 2 * int(ys[n])) for n in chosen]
