"""The color chain of pipeline.md 7.3, in floats, clamped after each step and rounded once.

Steps, unless their value changes nothing: autocontrast, brightness, contrast about 128, saturation about the
luma, sharpness, gamma, multipliers; then the additions temperature and look-up table. Values are levels of
0 to 255 at any bit depth. Alpha stays the same, and hidden colors do not bleed into visible neighbors.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from kroma.imaging.high_bit_depth import Picture16, Pixels
from kroma.postprocess.lut import CubeLut
from kroma.postprocess.specs import ColorProfile
from kroma.postprocess.temperature import temperature_matrix

Levels = NDArray[np.float32]
"""(height, width, 3) float32, 0 to 255."""

_LUMA: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_STRIP_PIXELS: Final = 1 << 16
"""A strip and its copies fit in the CPU cache."""
_KERNEL: Final = (7, 7)
"""Of the Gaussian: three sigmas to each side."""
_HALO: Final = 3
_LEAST_WEIGHT: Final = np.float32(1e-3)
"""With less alpha around a pixel, nothing near it is visible."""


def graded(picture: Picture16, profile: ColorProfile, lut: CubeLut | None = None) -> Picture16:
    """The graded picture at the same size, depth, alpha and color space."""
    pixels = picture.pixels
    stretch = _stretch(picture, profile.autocontrast_cutoff)
    if not picture.is_16_bit and _is_pointwise(profile) and lut is None:
        return picture.replaced(_by_table(pixels, profile, stretch))
    chain = _Chain(profile, stretch, lut)
    out = np.empty_like(pixels)
    if pixels.shape[2] > 3:  # noqa: PLR2004 - RGB
        out[..., 3] = pixels[..., 3]
    halo = _HALO if profile.sharpness != 1 else 0
    for rows, inner in _strips(pixels.shape[0], pixels.shape[1], halo):
        out[rows][inner][..., :3] = chain.apply(pixels[rows], inner)
    return picture.replaced(out)


class _Chain:
    """The steps on one strip."""

    def __init__(self, profile: ColorProfile, stretch: Levels | None, lut: CubeLut | None) -> None:
        self._profile = profile
        self._stretch = stretch
        self._lut = lut
        steps = np.arange(256, dtype=np.float32)[:, None].repeat(3, axis=1)[None]
        self._start = _until_saturation(steps, profile, stretch)
        self._has_start = not np.array_equal(self._start, steps)
        s = np.float32(profile.saturation)
        self._mix = s * np.eye(3, dtype=np.float32) + (1 - s) * np.tile(_LUMA, (3, 1))
        self._white = temperature_matrix(profile.temperature)
        self._end = _end_table(profile) if self._white is None and lut is None else None

    def apply(self, strip: Pixels, inner: slice) -> Pixels:
        """The graded inner rows of a strip."""
        profile = self._profile
        v = self._levels(strip)
        if profile.saturation != 1:
            v = _clamped(_as_levels(cv2.transform(v, self._mix)))
        soft = _blurred(v, strip)[inner] if profile.sharpness != 1 else v[inner]
        v = v[inner]
        if self._end is not None and strip.dtype == np.uint8:
            return np.asarray(cv2.LUT(_sharpened(v, soft, profile.sharpness, fine=True), self._end), np.uint8)
        v = _clamped(_as_levels(_sharpened(v, soft, profile.sharpness)))
        v = _after_sharpness(v, profile)
        if self._white is not None:
            v = _clamped(_as_levels(_encoded(cv2.transform(_linear(v), self._white))))
        if self._lut is not None:
            v = _clamped(self._lut.applied(v))
        return _rounded(v, strip)

    def _levels(self, strip: Pixels) -> Levels:
        color = np.ascontiguousarray(strip[..., :3])
        if color.dtype == np.uint8:
            if self._has_start:
                return _as_levels(cv2.LUT(color, self._start))
            return color.astype(np.float32)
        return _until_saturation(color.astype(np.float32) / np.float32(257), self._profile, self._stretch)


def _as_levels(values: object) -> Levels:
    return np.asarray(values, dtype=np.float32)


def _clamped(v: Levels) -> Levels:
    return _as_levels(np.clip(v, 0, 255, out=v))


def _is_pointwise(profile: ColorProfile) -> bool:
    return profile.saturation == 1 and profile.sharpness == 1 and profile.temperature == 0


def _by_table(pixels: Pixels, profile: ColorProfile, stretch: Levels | None) -> NDArray[np.uint8]:
    """Grade by a table of 256 values, if no step mixes pixels or channels."""
    steps = np.arange(256, dtype=np.float32)[:, None].repeat(3, axis=1)[None]
    values = _after_sharpness(_until_saturation(steps, profile, stretch), profile)
    table = np.rint(values).astype(np.uint8)
    if pixels.shape[2] > 3:  # noqa: PLR2004 - RGB
        same = np.arange(256, dtype=np.uint8)[None, :, None]
        table = np.ascontiguousarray(np.concatenate([table, same], axis=2))
    return np.asarray(cv2.LUT(np.ascontiguousarray(pixels, dtype=np.uint8), table), dtype=np.uint8)


def _until_saturation(v: Levels, profile: ColorProfile, stretch: Levels | None) -> Levels:
    v = v.copy()
    if stretch is not None:
        v = _clamped(_as_levels((v - stretch[0]) * stretch[1]))
    if profile.brightness != 1:
        v = _clamped(_as_levels(v * np.float32(profile.brightness)))
    if profile.contrast != 1:
        v = _clamped(_as_levels((v - np.float32(128)) * np.float32(profile.contrast) + np.float32(128)))
    return v


def _after_sharpness(v: Levels, profile: ColorProfile) -> Levels:
    """Gamma and multipliers; 0 stays 0, so one power and one product are enough."""
    gains = np.array(profile.gains, dtype=np.float32)
    if profile.gamma != 1:
        exponent = 1 / profile.gamma
        v = _as_levels(cv2.pow(v, exponent))
        gains *= np.float32(255 ** (1 - exponent))
    elif np.all(gains == 1):
        return v
    # Only a multiplier can exceed 255, so one clamp is enough. The product per channel is a matrix product,
    # since NumPy's broadcasting over three channels takes ten times as long.
    return _clamped(_as_levels(cv2.transform(v, np.diag(gains))))


@lru_cache(maxsize=8)
def _end_table(profile: ColorProfile) -> NDArray[np.uint8]:
    """The last steps, rounded, for every 257th of a level: the power takes longer than all other steps."""
    fine = (np.arange(65536, dtype=np.float32) / np.float32(257))[:, None].repeat(3, axis=1)[None]
    return np.rint(_after_sharpness(fine, profile)).astype(np.uint8)


def _sharpened(v: Levels, soft: Levels, amount: float, *, fine: bool = False) -> Levels | NDArray[np.uint16]:
    """Unsharp mask; ``fine`` returns clamped 257ths of a level in 16 bits."""
    if fine:
        parts = cv2.addWeighted(v, 257 * amount, soft, 257 * (1 - amount), 0, dtype=cv2.CV_16U)
        return np.asarray(parts, np.uint16)
    return _as_levels(cv2.addWeighted(v, amount, soft, 1 - amount, 0))


def _blurred(v: Levels, strip: Pixels) -> Levels:
    if strip.shape[2] == 3:  # noqa: PLR2004 - RGB
        return _as_levels(cv2.GaussianBlur(v, _KERNEL, 1.0))
    weight = strip[..., 3].astype(np.float32)
    total = _as_levels(cv2.GaussianBlur(weight, _KERNEL, 1.0))[..., None]
    shown = _as_levels(cv2.GaussianBlur(v * weight[..., None], _KERNEL, 1.0))
    return np.where(total > _LEAST_WEIGHT, shown / np.maximum(total, _LEAST_WEIGHT), v)


def _linear(v: Levels) -> Levels:
    """Convert sRGB levels to linear light, 0 to 1."""
    x = v / np.float32(255)
    curve = cv2.pow((x + np.float32(0.055)) / np.float32(1.055), 2.4)
    return _as_levels(np.where(x <= 0.04045, x / np.float32(12.92), curve))  # noqa: PLR2004 - IEC 61966-2-1


def _encoded(light: object) -> Levels:
    """Convert linear light, 0 to 1, to sRGB levels."""
    x = np.clip(_as_levels(light), 0, 1)
    curve = np.float32(1.055) * _as_levels(cv2.pow(x, 1 / 2.4)) - np.float32(0.055)
    return _as_levels(np.where(x <= 0.0031308, x * np.float32(12.92), curve) * np.float32(255))  # noqa: PLR2004 - as above


def _stretch(picture: Picture16, cutoff: float) -> Levels | None:
    """Per channel, the level that becomes 0 and the factor to the full range; None without stretching."""
    if cutoff <= 0:
        return None
    color = picture.pixels[..., :3].reshape(-1, 3)
    alpha = picture.alpha
    if alpha is not None:
        seen = alpha.reshape(-1) > 0
        color = color[seen] if seen.any() else color
    low, high = np.zeros(3, np.float32), np.full(3, 255, np.float32)
    for channel in range(3):
        counts = np.bincount(color[:, channel], minlength=picture.top + 1)
        below: NDArray[np.int64] = np.cumsum(counts, dtype=np.int64)
        whole = float(below[-1])
        cut = whole * cutoff / 100
        first = int(np.searchsorted(below, cut, side="right"))
        last = int(np.searchsorted(below, whole - cut, side="left"))
        if last > first:
            low[channel], high[channel] = first * 255 / picture.top, last * 255 / picture.top
    return np.stack([low, np.float32(255) / (high - low)])


def _strips(height: int, width: int, halo: int) -> Iterator[tuple[slice, slice]]:
    """Rows of each strip including a blur's margin, and the inner rows relative to them."""
    step = max(16, _STRIP_PIXELS // max(1, width))
    for start in range(0, height, step):
        end = min(start + step, height)
        first, last = max(0, start - halo), min(height, end + halo)
        yield slice(first, last), slice(start - first, end - first)


def _rounded(v: Levels, like: Pixels) -> Pixels:
    if like.dtype == np.uint8:
        return np.asarray(cv2.convertScaleAbs(v), np.uint8)
    return np.rint(v * np.float32(257)).astype(np.uint16)
