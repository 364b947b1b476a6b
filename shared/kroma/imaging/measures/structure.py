"""Are the scene's edges still in place.

Edges are the strongest locally normalized gradients. The measure is the share of the scene's edges close to
an edge of the candidate, the boundary recall of Martin, Fowlkes and Malik (Learning to detect natural image
boundaries using local brightness, color, and texture cues, PAMI 26, 2004). Since a hatched drawing has edges
everywhere, it is corrected for chance like Cohen's kappa (A coefficient of agreement for nominal scales,
1960). Lines that ink adds do not count against the candidate.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from kroma.imaging.measures.gray import WORK_PX, Gray, framings, resized, size_at

EDGE_SHARE: Final = 0.12
"""Largest share of pixels that count as edges."""
REACH_PX: Final = 3
"""Tolerated distance of a line, about 1 % of the longer side of 256 pixels."""
_SMOOTH: Final = 1.5
_AROUND: Final = 12.0
_NOISE: Final = 2.0
"""Weaker gradients, in levels of 255 per pixel, are not edges."""
_LEAST_EDGES: Final = 0.005


def edges(gray: Gray) -> NDArray[np.bool_]:
    """Mask of the edges, at the size of ``gray``."""
    smooth = np.asarray(cv2.GaussianBlur(gray.astype(np.float32), (0, 0), _SMOOTH), dtype=np.float32)
    across = cv2.Scharr(smooth, cv2.CV_32F, 1, 0, scale=1 / 32)
    down = cv2.Scharr(smooth, cv2.CV_32F, 0, 1, scale=1 / 32)
    strength = np.asarray(cv2.magnitude(across, down), dtype=np.float32)
    around = np.asarray(cv2.GaussianBlur(strength, (0, 0), _AROUND), dtype=np.float32)
    relative = strength / (around + np.float32(_NOISE))
    least = float(np.quantile(relative, 1.0 - EDGE_SHARE))
    return (relative > max(least, 1e-3)) & (strength > _NOISE / 2)


def reach(found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Every pixel within ``REACH_PX`` of an edge."""
    side = 2 * REACH_PX + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.asarray(cv2.dilate(found.astype(np.uint8), disc), dtype=np.bool_)


def agreement(scene: NDArray[np.bool_], near_candidate: NDArray[np.bool_]) -> float:
    """``max(0, (recall - cover) / (1 - cover))``.

    ``recall`` is the share of the scene's edges near the candidate's edges, ``cover`` the share of the whole
    picture near them, which is the recall by chance.
    """
    cover = float(near_candidate.mean())
    if cover >= 1.0:
        return 0.0
    recall = float(near_candidate[scene].mean())
    return max(0.0, (recall - cover) / (1.0 - cover))


def structure_kept(scene: Gray, candidate: Gray) -> float | None:
    """The agreement, 0 to 1, of the best framing; None if the scene has no edges."""
    size = size_at(candidate.shape, WORK_PX)
    near = reach(edges(resized(candidate, size)))
    found = [edges(framed) for framed in framings(scene, size)]
    agreements = [agreement(of_scene, near) for of_scene in found if of_scene.mean() >= _LEAST_EDGES]
    return max(agreements, default=None)
