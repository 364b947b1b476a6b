"""Removes a plain backdrop without a model.

1. Fit a smooth backdrop, a plane or a paraboloid in Lab, to the border pixels that agree with the border's
   most frequent color.
2. Pixels near that color and connected to the border are backdrop. Enclosed areas of the same color stay,
   since they may belong to the subject.
3. A pixel along the outline is a mix of backdrop and subject. Its share follows from the most different color
   nearby, and the backdrop's part is removed from its color.

If a step is uncertain, it raises ``UnsureError``.
"""

from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kroma.imaging.high_bit_depth import Picture16
from kroma.postprocess.errors import UnsureError

TOOL: Final = "local"
WORK_PIXELS: Final = 4_000_000
"""Larger pictures are reduced to find the outline."""
BORDER_SHARE: Final = 0.02
"""Width of the border ring, as a share of the shorter side."""
BIN: Final = 8.0
NEAR: Final = 14.0
"""Largest CIE76 distance from the border's most frequent color of a pixel that may belong to it."""
MIN_PLAIN: Final = 0.6
"""Share of the border that must be one backdrop."""
MAX_TEXTURE: Final = 5.0
"""Largest median distance of the backdrop's pixels from its fitted color."""
MAX_CROSSINGS: Final = 8
"""How often the border may enter or leave the backdrop: a subject touches one or two sides."""
MIN_SUBJECT: Final = 0.005
MAX_SUBJECT: Final = 0.97
MAX_FAINT: Final = 0.35
"""Largest share of the outline where subject and backdrop hardly differ."""
BAND_PX: Final = 3
"""How far outside the outline a pixel may be a mix."""
INNER_PX: Final = 2
MIX_OFF: Final = 0.12
"""Largest distance of a pixel's color from a mix of two, as a share of white."""
STRIP_PIXELS: Final = 1 << 22
SPECK_SHARE: Final = 0.0002
ALREADY_CLEAR: Final = 0.01
"""A picture with a larger share of transparent pixels is already cut out."""

Plane = NDArray[np.float32]
"""(height, width) float32."""
Colors = NDArray[np.float32]
"""(height, width, 3) float32."""


class Cutout(NamedTuple):
    """A picture without its backdrop."""

    picture: Picture16
    confidence: float
    """0 to 1."""
    reason: str


class _Backdrop(NamedTuple):
    lab: Colors
    """Its color at every pixel."""
    texture: float
    plain: float
    """Share of the border that agrees with it."""
    crossings: int
    """How often the border enters or leaves it."""


def cut_out(picture: Picture16) -> Cutout:
    """The subject on a transparent background, at the same size, depth and color space.

    Raises:
        UnsureError: The backdrop is not plain, or the subject hardly differs from it.
    """
    alpha = picture.alpha
    if alpha is not None:
        clear = float((alpha == 0).mean())
        if clear > ALREADY_CLEAR:
            return Cutout(picture, 1.0, f"it is already cut out: {clear:.0%} is transparent")
    width, height = picture.size
    factor = min(1.0, (WORK_PIXELS / max(1, width * height)) ** 0.5)
    side = (max(1, round(width * factor)), max(1, round(height * factor)))
    color = np.ascontiguousarray(picture.pixels[..., :3])
    small = _floats(cv2.resize(color, side, interpolation=cv2.INTER_AREA)) / np.float32(picture.top)
    share, ground, confidence, reason = _matte(small)
    return Cutout(_without_ground(picture, share, ground), confidence, reason)


def _matte(rgb: Colors) -> tuple[Plane, Colors, float, str]:
    """Each pixel's share of the subject, the backdrop's color, the confidence and its reason."""
    lab = _floats(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB))
    backdrop = _fitted(lab)
    if backdrop.plain < MIN_PLAIN:
        problem = f"only {backdrop.plain:.0%} of the border is one plain backdrop; it needs {MIN_PLAIN:.0%}"
        raise UnsureError(TOOL, problem)
    if backdrop.crossings > MAX_CROSSINGS:
        raise UnsureError(TOOL, f"the border is not one backdrop: it changes {backdrop.crossings} times")
    if backdrop.texture > MAX_TEXTURE:
        problem = f"the backdrop's texture is {backdrop.texture:.1f}; the limit is {MAX_TEXTURE:g}"
        raise UnsureError(TOOL, problem)
    distance = _length(lab - backdrop.lab)
    low = max(3.0, 3 * backdrop.texture)
    high = low + max(5.0, 2 * backdrop.texture)
    ground = _connected(distance < (low + high) / 2)
    subject = _without_specks(~ground)
    size = float(subject.mean())
    if not MIN_SUBJECT <= size <= MAX_SUBJECT:
        limits = f"from {MIN_SUBJECT:.1%} to {MAX_SUBJECT:.0%}"
        raise UnsureError(TOOL, f"the subject is {size:.1%} of the picture; it must be {limits}")
    faint = _faint(distance, subject, high)
    if faint > MAX_FAINT:
        raise UnsureError(TOOL, f"the subject hardly differs along {faint:.0%} of its outline")
    shown = _floats(cv2.cvtColor(backdrop.lab, cv2.COLOR_LAB2RGB))
    share = _shares(rgb, shown, distance, subject, (low, high))
    confidence = round(min(1.0, backdrop.plain, 1 - faint, 1 - backdrop.texture / (2 * MAX_TEXTURE)), 3)
    reason = f"{backdrop.plain:.0%} of the border is one backdrop, the subject is {size:.0%} of the picture"
    return share, shown, confidence, reason


def _fitted(lab: Colors) -> _Backdrop:
    height, width = lab.shape[:2]
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    border = max(2, round(BORDER_SHARE * min(height, width)))
    edge = np.ones((height, width), bool)
    edge[border:-border, border:-border] = False
    colors = lab[edge]
    x, y = xs[edge] / max(1, width - 1) * 2 - 1, ys[edge] / max(1, height - 1) * 2 - 1
    agrees = _length(colors - _most_frequent(colors)) < NEAR
    for terms in (3, 3, 6):
        if terms > _terms_known(x[agrees], y[agrees]) or agrees.sum() < 4 * terms:
            continue
        weights = np.linalg.lstsq(_terms(x[agrees], y[agrees], terms), colors[agrees], rcond=None)[0]
        off = _length(_floats(colors - _terms(x, y, terms) @ weights))
        agrees = off < max(6.0, 4 * float(np.median(off[agrees])))
    known = min(6, _terms_known(x[agrees], y[agrees]))
    weights = np.linalg.lstsq(_terms(x[agrees], y[agrees], known), colors[agrees], rcond=None)[0]
    everywhere = _terms(
        xs.ravel() / max(1, width - 1) * 2 - 1, ys.ravel() / max(1, height - 1) * 2 - 1, known
    )
    fitted = _floats(everywhere @ weights).reshape(height, width, 3)
    off = _length(colors - fitted[edge])
    texture = float(np.median(off[agrees])) if agrees.any() else np.inf
    near = _length(lab - fitted) < max(6.0, 4 * texture)
    return _Backdrop(fitted, texture, float(agrees.mean()), _crossings(near))


def _crossings(near: NDArray[np.bool_]) -> int:
    """Changes along the border, after smoothing."""
    around = np.concatenate([near[0], near[:, -1], near[-1, ::-1], near[::-1, 0]]).astype(np.float32)
    reach = max(1, len(around) // 100)
    kernel = np.full(2 * reach + 1, 1 / (2 * reach + 1), np.float32)
    smooth = np.convolve(np.concatenate([around[-reach:], around, around[:reach]]), kernel, mode="valid")
    inside = smooth > 0.5  # noqa: PLR2004 - the majority
    return int((inside != np.roll(inside, 1)).sum())


def _most_frequent(colors: NDArray[np.float32]) -> NDArray[np.float32]:
    bins = np.floor(colors / BIN).astype(np.int64)
    keys = (bins[:, 0] * 512 + bins[:, 1]) * 512 + bins[:, 2]
    values, counts = np.unique(keys, return_counts=True)
    return np.median(colors[keys == values[counts.argmax()]], axis=0).astype(np.float32)


def _terms_known(x: NDArray[np.float32], y: NDArray[np.float32]) -> int:
    """Terms of the fit: a constant, a plane, or a paraboloid, by the number of sides with backdrop."""
    sides = sum(bool(side.mean() > 0.02) for side in (x < -0.9, x > 0.9, y < -0.9, y > 0.9)) if len(x) else 0  # noqa: PLR2004 - near the border
    return {4: 6, 3: 3}.get(sides, 1)


def _terms(x: NDArray[np.float32], y: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    every = (np.ones_like(x), x, y, x * y, x * x, y * y)
    return np.stack(every[:count], axis=1)


def _connected(near: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The parts that reach the border."""
    _, found = cv2.connectedComponents(near.astype(np.uint8), connectivity=4)
    labels = np.asarray(found, np.int32)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    reached = np.zeros(int(labels.max()) + 1, bool)
    reached[np.unique(edge)] = True
    reached[0] = False
    return reached[labels]


def _without_specks(subject: NDArray[np.bool_]) -> NDArray[np.bool_]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(subject.astype(np.uint8), connectivity=8)
    kept = np.zeros(count, bool)
    kept[1:] = np.asarray(stats)[1:, cv2.CC_STAT_AREA] >= max(4.0, SPECK_SHARE * subject.size)
    return kept[np.asarray(labels, np.int32)]


def _faint(distance: Plane, subject: NDArray[np.bool_], high: float) -> float:
    """The share of the outline where the subject just inside hardly differs from the backdrop."""
    mask = subject.astype(np.uint8)
    inside = cv2.erode(mask, np.ones((3, 3), np.uint8), borderValue=1)
    outline = (mask > 0) & (inside == 0)
    if not outline.any():
        return 1.0
    strongest = _floats(
        cv2.dilate(np.where(subject, distance, 0).astype(np.float32), np.ones((5, 5), np.uint8))
    )
    return float((strongest[outline] < 1.5 * high).mean())


def _shares(
    rgb: Colors, ground: Colors, distance: Plane, subject: NDArray[np.bool_], limits: tuple[float, float]
) -> Plane:
    """Each pixel's share of the subject: 1 inside, 0 outside, and between along the outline.

    There, a pixel is a mix of the backdrop and the most different color nearby. If it is not such a mix, its
    share follows from its distance to the backdrop.
    """
    low, high = limits
    mask = subject.astype(np.uint8)
    solid = cv2.erode(mask, _disc(INNER_PX), borderValue=1) > 0
    band = (cv2.dilate(mask, _disc(BAND_PX)) > 0) & ~solid
    own = _strongest(rgb, np.where(subject, distance, 0), band)
    shown, mixture = ground[band], rgb[band]
    reach = own - shown
    square = (reach**2).sum(axis=1)
    mixed = np.clip(((mixture - shown) * reach).sum(axis=1) / np.maximum(square, 1e-6), 0, 1)
    off = _length(_floats(mixture - shown - mixed[:, None] * reach))
    by_distance = np.clip((distance[band] - low) / (high - low), 0, 1)
    share = solid.astype(np.float32)
    share[band] = np.where(off < MIX_OFF, mixed, by_distance)
    return share


def _strongest(rgb: Colors, distance: NDArray[np.float32], band: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(n, 3): for each pixel of the band, the nearby color furthest from the backdrop's."""
    height, width = band.shape
    ys, xs = np.nonzero(band)
    best = np.full(len(ys), -1, np.float32)
    color = np.zeros((len(ys), 3), np.float32)
    for dy in range(-BAND_PX, BAND_PX + 1):
        for dx in range(-BAND_PX, BAND_PX + 1):
            y, x = np.clip(ys + dy, 0, height - 1), np.clip(xs + dx, 0, width - 1)
            further = distance[y, x] > best
            best[further] = distance[y, x][further]
            color[further] = rgb[y, x][further]
    return color


def _disc(radius: int) -> NDArray[np.uint8]:
    size = 2 * radius + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def _without_ground(picture: Picture16, share: Plane, ground: Colors) -> Picture16:
    """Apply the matte in strips, since the largest picture in floats exceeds a process's memory."""
    top = np.float32(picture.top)
    width, height = picture.size
    scale = share.shape[1] / width, share.shape[0] / height
    out = np.zeros((height, width, 4), picture.pixels.dtype)
    step = max(1, STRIP_PIXELS // width)
    for start in range(0, height, step):
        strip = picture.pixels[start : start + step]
        rows = (width, strip.shape[0])
        alpha = np.clip(_stretched(share, scale, start, rows), 0, 1)
        behind = _stretched(ground, scale, start, rows)
        rgb = strip[..., :3].astype(np.float32) / top
        part = alpha[..., None]
        cleaned = np.where(part < 1, (rgb - (1 - part) * behind) / np.maximum(part, np.float32(0.05)), rgb)
        done = out[start : start + step]
        done[..., :3] = np.rint(np.clip(cleaned, 0, 1) * top).astype(out.dtype)
        done[..., :3][alpha <= 0] = 0
        kept = alpha * top
        if picture.alpha is not None:
            kept = np.minimum(kept, strip[..., 3])
        done[..., 3] = np.rint(kept).astype(out.dtype)
    return picture.replaced(out)


def _stretched(
    values: NDArray[np.float32], scale: tuple[float, float], start: int, size: tuple[int, int]
) -> NDArray[np.float32]:
    """Rows of a reduced picture at full size, beginning with the full-size row ``start``."""
    if scale == (1, 1):
        return values[start : start + size[1]]
    across, down = scale
    matrix = np.array(
        [[across, 0, across / 2 - 0.5], [0, down, (start + 0.5) * down - 0.5]], dtype=np.float64
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return _floats(cv2.warpAffine(values, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE))


def _floats(values: object) -> NDArray[np.float32]:
    return np.asarray(values, np.float32)


def _length(vectors: NDArray[np.float32]) -> Plane:
    return _floats(np.sqrt((vectors * vectors).sum(axis=-1)))
