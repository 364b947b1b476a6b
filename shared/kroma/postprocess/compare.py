"""The final check: does the result still show its source, with the expected size and transparency?

``structure`` is the correlation of luma, 0 to 1, at the source's proportions and at most 256 pixels per side,
over the pixels that the result shows. ``drift`` is the mean absolute difference of the mean colors, 0 to 1.
"""

from typing import Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from kroma.imaging.errors import PictureError
from kroma.imaging.high_bit_depth import Picture16, Pixels, decode16
from kroma.postprocess.memory import within_memory
from kroma.postprocess.specs import Comparison, Expected

MIN_STRUCTURE: Final = 0.85
MAX_DRIFT: Final = 0.06
"""Limit without color grading."""
MAX_DRIFT_GRADED: Final = 0.30
MIN_SHOWN: Final = 0.002
"""Share of the picture that a cutout must still show."""
ALPHA_OFF: Final = 0.03
"""Largest mean difference from the source's transparency without background removal."""
_SIDE_PX: Final = 256
_FLAT: Final = 0.01
"""Deviation of luma below which a picture has no structure."""
_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)

Plane = NDArray[np.float32]


@within_memory
def compare(source: bytes, result: bytes, expected: Expected) -> Comparison:
    """Decode both pictures and compare them.

    Raises:
        PictureError: The source does not decode.
    """
    before = decode16(source, name="source")
    try:
        after = decode16(result, name="result")
    except PictureError as exc:
        return Comparison(is_good=False, reason=exc.message)
    found = _measured(before, after, expected)
    problem = _problem(before, after, expected, found)
    reason = problem or f"As its source: {found.width}x{found.height}"
    if problem is None and found.structure is not None and found.drift is not None:
        reason += f", structure {found.structure:.3f}, color drift {found.drift:.3f}"
    return msgspec.structs.replace(found, is_good=problem is None, reason=reason)


def _measured(before: Picture16, after: Picture16, expected: Expected) -> Comparison:
    width, height = after.size
    shown = None if after.alpha is None else float((after.alpha > after.top // 2).mean())
    structure = drift = None
    if not expected.is_cropped:
        old, old_alpha = _small(before, before.size)
        new, new_alpha = _small(after, before.size)
        weight = np.minimum(old_alpha, new_alpha)
        if expected.is_cut_out and not expected.keeps_alpha:
            # Flattened on white, which hides the removed background.
            weight = weight * (np.abs(new - 1).max(axis=2) > 0.02)  # noqa: PLR2004 - not white
        if weight.sum() > 0:
            structure = _correlation(old @ _LUMA, new @ _LUMA, weight)
            means = [(rgb * weight[..., None]).sum(axis=(0, 1)) / weight.sum() for rgb in (old, new)]
            drift = round(float(np.abs(means[0] - means[1]).mean()), 4)
    return Comparison(
        is_good=True,
        reason="",
        width=width,
        height=height,
        structure=structure,
        drift=drift,
        shown=None if shown is None else round(shown, 4),
    )


def _problem(before: Picture16, after: Picture16, expected: Expected, found: Comparison) -> str | None:
    """The first difference from what is expected."""
    size = before.size[0] * expected.scale, before.size[1] * expected.scale
    if not expected.is_cropped and after.size != size:
        return f"It has {found.width}x{found.height} pixels, not {size[0]}x{size[1]}"
    if problem := _alpha_problem(before, after, expected, found):
        return problem
    if found.structure is not None and found.structure < MIN_STRUCTURE:
        return f"Its structure agrees with the source's by {found.structure:.2f}; it needs {MIN_STRUCTURE:g}"
    limit = MAX_DRIFT_GRADED if expected.is_graded else MAX_DRIFT
    if found.drift is not None and found.drift > limit:
        return f"Its mean color changed by {found.drift:.3f}; the limit is {limit:g}"
    return None


def _alpha_problem(before: Picture16, after: Picture16, expected: Expected, found: Comparison) -> str | None:
    if found.shown is not None and found.shown < MIN_SHOWN:
        return f"It shows {found.shown:.2%} of the picture; the subject is lost"
    if not expected.keeps_alpha:
        return None
    if expected.is_cut_out:
        return "Its backdrop was removed, but it has no transparency" if found.shown is None else None
    if before.alpha is None:
        return None
    if after.alpha is None:
        return "The source's transparency is lost"
    (_, old), (_, new) = _small(before, before.size), _small(after, before.size)
    off = float(np.abs(old - new).mean())
    return f"Its transparency differs from the source's by {off:.3f}" if off > ALPHA_OFF else None


def _small(picture: Picture16, size: tuple[int, int]) -> tuple[NDArray[np.float32], Plane]:
    """Colors, 0 to 1, and alpha, with sides of at most 256 pixels."""
    factor = min(1.0, _SIDE_PX / max(size))
    target = max(1, round(size[0] * factor)), max(1, round(size[1] * factor))

    def reduced(pixels: Pixels) -> Plane:
        small = cv2.resize(np.ascontiguousarray(pixels), target, interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.float32) / np.float32(picture.top)

    alpha = np.ones((target[1], target[0]), np.float32) if picture.alpha is None else reduced(picture.alpha)
    return reduced(picture.pixels[..., :3]), alpha


def _correlation(old: Plane, new: Plane, weight: Plane) -> float | None:
    total = float(weight.sum())
    a, b = (v - float((v * weight).sum()) / total for v in (old, new))
    spread = [float((v * v * weight).sum()) / total for v in (a, b)]
    if max(spread) < _FLAT**2:
        return None  # both are flat
    if min(spread) <= 0:
        return 0.0
    return round(float((a * b * weight).sum()) / total / (spread[0] * spread[1]) ** 0.5, 4)
