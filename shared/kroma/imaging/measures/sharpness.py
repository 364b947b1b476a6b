"""Is a candidate as sharp as its scene: the perceptual blur of both, at the same size.

Crété, Dolmiere, Ladret, Nicolas: The blur effect: perception and estimation with a new no-reference
perceptual blur metric, SPIE 6492 (2007). Blurring a picture again changes a sharp one much and a blurred
one little; contrast cancels out, so that a dark night does not count as blurred. Unlike in the paper,
differences are squared before they are summed, so that grain does not count as detail.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from kroma.imaging.measures.gray import DETAIL_PX, Gray, cut_to, resized

_SPAN: Final = 9
"""Length of the paper's averaging filter, in pixels."""


def blur_effect(gray: Gray) -> float:
    """0 for a crisp picture to 1 for one without detail; the worse of the two directions.

    ``sum min(D, B)^2 / sum D^2``, where ``D`` are absolute differences between neighboring pixels and ``B``
    the same after averaging over nine pixels; 0 for a uniform picture.
    """
    values = gray.astype(np.float32)
    return max(_along(values, axis=0), _along(values, axis=1))


def _along(values: NDArray[np.float32], *, axis: int) -> float:
    span = (1, _SPAN) if axis == 0 else (_SPAN, 1)
    first = (slice(1, None), slice(None)) if axis == 0 else (slice(None), slice(1, None))
    second = (slice(None, -1), slice(None)) if axis == 0 else (slice(None), slice(None, -1))
    if values.shape[axis] == 1:
        return 0.0
    averaged = np.asarray(cv2.blur(values, span), dtype=np.float32)
    own = np.asarray(cv2.absdiff(values[first], values[second]), dtype=np.float32)
    blurred = np.asarray(cv2.absdiff(averaged[first], averaged[second]), dtype=np.float32)
    total = cv2.norm(own, cv2.NORM_L2SQR)
    return cv2.norm(cv2.min(own, blurred), cv2.NORM_L2SQR) / total if total else 0.0


def detail_kept(scene: Gray, candidate: Gray) -> float | None:
    """``min(1, (1 - candidate's blur) / (1 - scene's blur))``; None if the scene is uniform.

    Both are compared at the smaller one's size, so that detail the scene does not have is not required.
    """
    height, width = candidate.shape
    cut = cut_to(scene, (width, height))
    longer = min(max(cut.shape), max(candidate.shape), DETAIL_PX)
    factor = longer / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    of_scene, of_candidate = resized(cut, size), resized(candidate, size)
    if not of_scene.any() or of_scene.min() == of_scene.max():
        return None
    if of_candidate.min() == of_candidate.max():
        return 0.0
    most = 1.0 - blur_effect(of_scene)
    return min(1.0, (1.0 - blur_effect(of_candidate)) / most) if most > 0 else None
