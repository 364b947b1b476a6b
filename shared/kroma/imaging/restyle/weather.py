"""Rain: haze and wet ground in the scene's tones, then streaks over the drawing."""

from typing import Final, NamedTuple

import cv2
import numpy as np

from kroma.imaging.restyle.field import Tone, as_tone, blur, mix, noise, percentile, places, smoothstep
from kroma.imaging.restyle.light import open_ground, open_sky


class _Depth(NamedTuple):
    """One layer of falling rain."""

    per_megapixel: int
    length: float
    """In thousandths of the picture, as all lengths here."""
    width: float
    strength: float


_DEPTHS: Final = (
    _Depth(per_megapixel=1500, length=30.0, width=1.0, strength=0.5),
    _Depth(per_megapixel=520, length=75.0, width=1.7, strength=0.85),
    _Depth(per_megapixel=110, length=150.0, width=2.8, strength=1.0),
)


def soak(tone: Tone, *, scale: float, rng: np.random.Generator) -> tuple[Tone, Tone]:
    """The scene's tones in rain, and where its ground is wet (0 to 1).

    The distance greys, surfaces darken and shine, level ground mirrors what stands above it.
    """
    shape = (tone.shape[0], tone.shape[1])
    height = shape[0]
    _, ys = places(shape)
    down = as_tone(ys / max(1, height - 1))
    sky = open_sky(tone, scale)
    far = as_tone(np.clip((np.float32(0.75) - down) / np.float32(0.75), 0.0, 1.0))
    haze = as_tone(np.float32(0.30) * far + np.float32(0.22) * sky)
    (light,) = percentile(tone, 70.0)
    soaked = mix(tone, min(0.58, 1.1 * light), np.clip(haze, 0.0, 0.6))  # a night's haze is dark
    soaked = as_tone(soaked * (np.float32(0.90) - np.float32(0.18) * down))
    ground = as_tone(open_ground(tone, scale) * smoothstep(0.45, 0.75, np.broadcast_to(down, shape)))
    foot = as_tone(smoothstep(0.62, 0.95, np.broadcast_to(down, shape)) * np.float32(0.45))
    wet = np.maximum(ground, foot)
    mirrored = _mirrored(soaked, scale=scale, rng=rng)
    soaked = mix(soaked, mirrored, wet * np.float32(0.5))
    shine = smoothstep(0.55, 0.9, tone) * np.float32(0.22) * (np.float32(0.4) + wet)
    return as_tone(np.clip(soaked + shine, 0.0, 1.0)), wet


def _mirrored(tone: Tone, *, scale: float, rng: np.random.Generator) -> Tone:
    """What lies above the ground line, upside down, drawn out and rippled."""
    shape = (tone.shape[0], tone.shape[1])
    height, width = shape
    xs, ys = places(shape)
    line = 0.64 * (height - 1)
    ripple = noise(shape, (max(2.0, width / 9), max(2.0, 9.0 * scale)), rng) * np.float32(7.0 * scale)
    map_x = as_tone(xs + ripple)
    map_y = as_tone(np.broadcast_to(np.clip(2.0 * line - ys, 0.0, line), shape))
    flipped = cv2.remap(tone, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    tall = 2 * max(1, round(9.0 * scale)) + 1
    drawn_out = as_tone(cv2.blur(flipped, (1, tall)))
    bands = noise(shape, (max(2.0, width / 4), max(2.0, 5.0 * scale)), rng)
    return as_tone(np.clip(drawn_out * np.float32(0.95) + np.float32(0.07) * bands, 0.0, 1.0))


def fall(drawing: Tone, wet: Tone, *, scale: float, rng: np.random.Generator) -> tuple[Tone, float]:
    """The drawing with rain in three depths and splashes on wet ground; and its slant in degrees."""
    shape = (drawing.shape[0], drawing.shape[1])
    slant = float(rng.uniform(7.0, 19.0)) * (1.0 if rng.random() < 0.5 else -1.0)  # noqa: PLR2004 - a coin
    ground_tone = blur(drawing, 5.0 * scale)
    rainy = drawing
    for depth in _DEPTHS:
        bright = _streaks(shape, depth, slant, scale=scale, rng=rng)
        # White strokes over the darks, thin dark ones over the lights: rain shows against both.
        over_dark = bright * (np.float32(0.40) + np.float32(0.60) * smoothstep(0.85, 0.5, ground_tone))
        rainy = mix(rainy, 0.98, as_tone(np.clip(over_dark * np.float32(depth.strength), 0.0, 0.95)))
        shifted = np.roll(bright, max(1, round(1.6 * scale)), axis=1)
        over_light = shifted * smoothstep(0.5, 0.85, ground_tone) * np.float32(0.55 * depth.strength)
        rainy = as_tone(rainy * (np.float32(1.0) - over_light))
    return _splashed(rainy, wet, scale=scale, rng=rng), round(slant, 1)


def _streaks(
    shape: tuple[int, int], depth: _Depth, slant: float, *, scale: float, rng: np.random.Generator
) -> Tone:
    """One layer of streaks, each fading in and out, 0 to 1."""
    height, width = shape
    layer = np.zeros(shape, dtype=np.uint8)
    length = depth.length * scale
    drops = max(1, round(depth.per_megapixel * height * width / 1e6 / max(scale, 0.3) ** 2))
    tilt = np.tan(np.radians(slant))
    margin = length * abs(tilt) + 2
    starts = rng.uniform([-margin, -length], [width + margin, height], (drops, 2))
    lengths = length * rng.uniform(0.5, 1.2, drops)
    shades = rng.uniform(0.45, 1.0, drops)
    width_px = max(1, round(depth.width * scale))
    for (x, y), reach, shade in zip(starts, lengths, shades, strict=True):
        # Faint whole length first, then a stronger middle: a stroke with two thin ends.
        for first, last, share in ((0.0, 1.0, 0.45), (0.22, 0.85, 1.0)):
            begin = (round((x + tilt * reach * first) * 16), round((y + reach * first) * 16))
            end = (round((x + tilt * reach * last) * 16), round((y + reach * last) * 16))
            cv2.line(layer, begin, end, (int(255 * shade * share),), width_px, cv2.LINE_AA, 4)
    return as_tone(layer) / np.float32(255.0)


def _splashed(drawing: Tone, wet: Tone, *, scale: float, rng: np.random.Generator) -> Tone:
    """Rings and sparks where drops meet wet ground, larger in front."""
    height, width = drawing.shape
    layer = np.zeros(drawing.shape, dtype=np.uint8)
    count = max(1, round(150 * height * width / 1e6 / max(scale, 0.3) ** 2))
    for x, y in rng.uniform([0, 0.55 * height], [width, height], (count, 2)):
        if wet[min(int(y), height - 1), min(int(x), width - 1)] < rng.uniform(0.15, 0.6):
            continue
        near = 0.4 + 0.6 * (y / height - 0.55) / 0.45
        across = max(1, round(9.0 * scale * near))
        centre = (round(x), round(y))
        cv2.ellipse(layer, centre, (across, max(1, across // 3)), 0, 0, 360, (190,), 1, cv2.LINE_AA)
        for side in (-1, 1):
            tip = (round(x + side * across * 0.6), round(y - across * 0.9))
            cv2.line(layer, centre, tip, (230,), 1, cv2.LINE_AA)
    return mix(drawing, 0.97, as_tone(layer) / np.float32(255.0))
