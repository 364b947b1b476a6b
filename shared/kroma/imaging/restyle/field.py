"""Array operations the stages of the engine share."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Tone = NDArray[np.float32]
"""(height, width) float32."""

_EXACT_SIGMA: Final = 6.0
"""Wider blurs are done on a smaller picture: nobody sees the difference, and it costs a tenth."""


def as_tone(values: object) -> Tone:
    """The values as a float32 array."""
    return np.asarray(values, dtype=np.float32)


def blur(image: Tone, sigma: float) -> Tone:
    """A Gaussian blur; ``sigma`` in pixels."""
    if sigma <= _EXACT_SIGMA:
        return as_tone(cv2.GaussianBlur(image, (0, 0), max(sigma, 0.3)))
    factor = 2.0 ** np.ceil(np.log2(sigma / _EXACT_SIGMA))
    height, width = image.shape
    small = (max(1, round(width / factor)), max(1, round(height / factor)))
    reduced = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(reduced, (0, 0), sigma / factor)
    return as_tone(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR))


def smoothstep(low: float, high: float, values: Tone) -> Tone:
    """0 below ``low``, 1 above ``high``, smooth between; falling when ``low`` is the higher."""
    t = values - np.float32(low)
    t *= np.float32(1.0 / (high - low))
    np.clip(t, 0.0, 1.0, out=t)
    curve = t * np.float32(-2.0)
    curve += np.float32(3.0)
    curve *= t
    curve *= t
    return as_tone(curve)


def mix(first: Tone, second: Tone | float, share: Tone | float) -> Tone:
    """``first`` with a share, 0 to 1, of ``second``."""
    return as_tone(first + (second - first) * share)


def noise(shape: tuple[int, int], cell_px: tuple[float, float], rng: np.random.Generator) -> Tone:
    """Smooth noise of about unit deviation, its cells ``(wide, high)`` pixels."""
    height, width = shape
    columns = max(2, round(width / cell_px[0]) + 2)
    rows = max(2, round(height / cell_px[1]) + 2)
    grid = rng.standard_normal((rows, columns), dtype=np.float32)
    return as_tone(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC))


def positions(shape: tuple[int, int]) -> tuple[Tone, Tone]:
    """Every pixel's x as a row and y as a column, ready to broadcast."""
    height, width = shape
    return np.arange(width, dtype=np.float32)[None, :], np.arange(height, dtype=np.float32)[:, None]


def gradient(image: Tone) -> tuple[Tone, Tone]:
    """Change per pixel to the right and downward."""
    scale = 1.0 / 32.0  # the Scharr kernel's weights sum to 32
    return (
        as_tone(cv2.Scharr(image, cv2.CV_32F, 1, 0, scale=scale)),
        as_tone(cv2.Scharr(image, cv2.CV_32F, 0, 1, scale=scale)),
    )


def flow(image: Tone, sigma: float) -> tuple[Tone, Tone]:
    """Unit vectors along the edges, from the structure tensor averaged over ``sigma`` pixels."""
    dx, dy = gradient(image)
    xx, yy, xy = blur(dx * dx, sigma), blur(dy * dy, sigma), blur(dx * dy, sigma)
    across = as_tone(0.5 * np.arctan2(2.0 * xy, xx - yy))
    return as_tone(-np.sin(across)), as_tone(np.cos(across))


def along(image: Tone, direction: tuple[Tone, Tone], reach_px: float, *, steps: int = 3) -> Tone:
    """The picture averaged along a direction: broken edges join to lines."""
    xs, ys = positions((image.shape[0], image.shape[1]))
    total, weights = image.copy(), 1.0
    for step in range(1, steps + 1):
        distance = np.float32(reach_px * step / steps)
        weight = np.float32(1.0 - 0.6 * step / steps)
        for side in (distance, -distance):
            map_x = as_tone(xs + direction[0] * side)
            map_y = as_tone(ys + direction[1] * side)
            sampled = cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            total += weight * as_tone(sampled)
            weights += float(weight)
    return as_tone(total / np.float32(weights))


def percentile(image: Tone, *percents: float) -> list[float]:
    """Percentiles from a sample of at most some 40,000 pixels."""
    step = max(1, int(np.sqrt(image.size / 40_000)))
    return [float(value) for value in np.percentile(image[::step, ::step], percents)]


def shrunk(image: Tone, by: int = 4) -> Tone:
    """The picture at a share of its size: enough for what changes slowly, at a fraction of the cost."""
    height, width = image.shape
    size = (max(1, width // by), max(1, height // by))
    return as_tone(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def grown(image: Tone, shape: tuple[int, int]) -> Tone:
    """The picture at ``(height, width)``."""
    return as_tone(cv2.resize(image, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR))


def forms(tone: Tone, sigma: float, *, scale: float) -> Tone:
    """How much tones change around each place, within ``sigma`` pixels, per thousandth of the picture."""
    dx, dy = gradient(blur(shrunk(tone), 0.5 * scale))
    small = blur(as_tone(np.hypot(dx, dy) * np.float32(0.25 * scale)), 0.25 * sigma)
    return grown(small, (tone.shape[0], tone.shape[1]))
