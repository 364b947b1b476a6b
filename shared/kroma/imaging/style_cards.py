"""Two style references, drawn from nothing: a noir ink street and an ink-wash landscape, both grey."""

from collections.abc import Callable, Sequence
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from kroma.imaging.codec import Picture, encode_png
from kroma.imaging.restyle.field import Rng, Tone, as_tone, blur, mix, noise, places, smoothstep
from kroma.imaging.restyle.ink import hatching, wash
from kroma.imaging.restyle.recipe import RECIPES

ReferenceKind = Literal["noir ink", "ink wash"]
REFERENCE_KINDS: Final[tuple[ReferenceKind, ...]] = ("noir ink", "ink wash")
DEFAULT_SIZE: Final = (640, 800)
_OVERSAMPLED: Final = 2
_SHIFT: Final = 4
_MOON: Final = 0.036
"""Radius, as a share of the height."""
_BLACK: Final = 0.10
"""Tone below which the noir street is solid ink that no light reaches."""

Points = Sequence[tuple[float, float]]


def draw_reference(kind: ReferenceKind, size: tuple[int, int] = DEFAULT_SIZE) -> bytes:
    """A reference as PNG, ``(width, height)`` pixels; the same every time."""
    sheet = _Sheet(size, np.random.default_rng(REFERENCE_KINDS.index(kind)))
    tone = _SCENES[kind](sheet)
    small = cv2.resize(tone, size, interpolation=cv2.INTER_AREA)
    grey = np.rint(np.clip(small, 0.0, 1.0) * 255.0).astype(np.uint8)
    return encode_png(Picture(np.repeat(grey[..., None], 3, axis=2)))


class _Sheet:
    """A drawing board whose coordinates run from 0 to 1 across and down."""

    def __init__(self, size: tuple[int, int], rng: Rng) -> None:
        self.shape = (size[1] * _OVERSAMPLED, size[0] * _OVERSAMPLED)
        self.rng = rng
        self.scale = float(np.sqrt(self.shape[0] * self.shape[1])) / 1000.0
        self.tone = np.ones(self.shape, dtype=np.float32)
        self.lines = np.zeros(self.shape, dtype=np.uint8)

    def fill(self, points: Points, tone: float) -> None:
        """A flat shape; what was below it, its outline too, is hidden."""
        polygon = self._pixels(points)
        cv2.fillPoly(self.tone, [polygon], (tone,), cv2.LINE_8, _SHIFT)
        cv2.fillPoly(self.lines, [polygon], (0,), cv2.LINE_8, _SHIFT)

    def line(self, points: Points, width: float, *, closed: bool = False) -> None:
        """A pen line, ``width`` in thousandths."""
        thick = max(1, round(width * self.scale))
        cv2.polylines(self.lines, [self._pixels(points)], closed, (255,), thick, cv2.LINE_AA, _SHIFT)

    def shape_of(self, points: Points, tone: float, width: float) -> None:
        """A shape with its outline."""
        self.fill(points, tone)
        self.line(points, width, closed=True)

    def mask(self, points: Points) -> Tone:
        """1 inside the shape."""
        layer = np.zeros(self.shape, dtype=np.float32)
        cv2.fillPoly(layer, [self._pixels(points)], (1.0,), cv2.LINE_8, _SHIFT)
        return layer

    @property
    def ink(self) -> Tone:
        """The pen lines, 0 to 1."""
        return as_tone(self.lines) / np.float32(255.0)

    def _pixels(self, points: Points) -> NDArray[np.int32]:
        scaled = np.array(points, dtype=np.float64) * [self.shape[1], self.shape[0]]
        return np.rint(scaled * (1 << _SHIFT)).astype(np.int32).reshape(-1, 1, 2)


def _box(left: float, top: float, right: float, bottom: float) -> Points:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _noir_street(sheet: _Sheet) -> Tone:
    """A wet street between dark houses, a lamp, and a man in a coat who stands in its light."""
    rng = sheet.rng
    xs, ys = places(sheet.shape)
    x, y = xs / sheet.shape[1], ys / sheet.shape[0]
    sheet.tone[:] = 0.24 + 0.30 * np.clip(y / 0.55, 0.0, 1.0)
    moon = np.hypot((x - 0.47) * 0.8, y - 0.12)
    sheet.tone[:] = np.where(moon < _MOON, 1.0, np.clip(sheet.tone + 0.35 * np.exp(-moon * 9.0), 0.0, 0.95))
    _skyline(sheet)
    _house(sheet, near=-0.02, far=0.30, top=(0.02, 0.26), tone=0.22, lit={(1, 2), (3, 1)})
    _house(sheet, near=1.02, far=0.66, top=(-0.04, 0.22), tone=0.12, lit={(0, 1), (2, 3)})
    street = [(0.30, 0.60), (0.66, 0.60), (1.25, 1.02), (-0.30, 1.02)]
    sheet.fill(street, 0.55)
    for share in np.linspace(0.08, 0.95, 9):
        depth = 0.60 + 0.42 * share**1.7
        sheet.line([(0.30 - 0.60 * share**1.7, depth), (0.66 + 0.59 * share**1.7, depth)], 1.1)
    for foot in np.linspace(-0.30, 1.25, 12):
        sheet.line([(0.30 + 0.36 * (foot + 0.30) / 1.55, 0.60), (foot, 1.02)], 1.0)
    _lamp_post(sheet)
    shadow = [(0.475, 0.885), (0.54, 0.885), (0.80, 1.0), (0.62, 1.01)]
    sheet.fill(shadow, 0.03)
    _man(sheet)
    lamp = np.exp(-(((x - 0.335) / 0.20) ** 2 + ((y - 0.40) / 0.20) ** 2))
    pool = np.exp(-(((x - 0.40) / 0.24) ** 2 + ((y - 0.90) / 0.10) ** 2))
    lit = as_tone(sheet.tone + (0.42 * lamp + 0.50 * pool) * (sheet.tone > _BLACK))
    tone = as_tone(np.clip(lit, 0.0, 1.0))
    paper = _tooth(sheet)
    strokes = hatching(tone, RECIPES[0], scale=sheet.scale, rng=rng, paper=paper)
    blacks = smoothstep(0.20, 0.14, tone)
    drawn = as_tone((1.0 - strokes * 0.97) * (1.0 - blacks))
    drawn = as_tone(drawn * (1.0 - sheet.ink * smoothstep(0.10, 0.16, tone)))
    drawn = mix(drawn, 0.85, sheet.ink * smoothstep(0.14, 0.08, tone) * np.float32(0.5))
    return as_tone(0.04 + 0.93 * drawn + 0.006 * paper)


def _skyline(sheet: _Sheet) -> None:
    """Far roofs at the end of the street."""
    edges = np.linspace(0.24, 0.72, 9)
    heights = sheet.rng.uniform(0.36, 0.50, 8)
    for left, right, top in zip(edges[:-1], edges[1:], heights, strict=True):
        sheet.shape_of(_box(left, top, right, 0.62), 0.34, 1.4)
        middle = (left + right) / 2
        sheet.shape_of([(left, top), (middle, top - 0.035), (right, top)], 0.26, 1.4)


def _house(
    sheet: _Sheet,
    *,
    near: float,
    far: float,
    top: tuple[float, float],
    tone: float,
    lit: set[tuple[int, int]],
) -> None:
    """A row of house fronts that recedes from the picture's edge to the street's end."""

    def at(along: float, up: float) -> tuple[float, float]:
        roof = top[0] + (top[1] - top[0]) * along
        base = 1.02 + (0.60 - 1.02) * along
        return near + (far - near) * along, base + (roof - base) * up

    sheet.shape_of([at(0, 0), at(0, 1), at(1, 1), at(1, 0)], tone, 3.0)
    sheet.line([at(0, 0.93), at(1, 0.93)], 2.2)
    for column in range(4):
        first, last = 0.08 + column * 0.235, 0.20 + column * 0.235
        for row in range(5):
            low, high = 0.14 + row * 0.16, 0.25 + row * 0.16
            corners = [at(first, low), at(first, high), at(last, high), at(last, low)]
            sheet.shape_of(corners, 0.95 if (column, row) in lit else 0.06, 1.8)
            middle = (first + last) / 2
            sheet.line([at(middle, low), at(middle, high)], 1.4)
            sheet.line([at(first, (low + high) / 2), at(last, (low + high) / 2)], 1.4)
            sheet.line([at(first - 0.02, low - 0.012), at(last + 0.02, low - 0.012)], 2.2)


def _lamp_post(sheet: _Sheet) -> None:
    sheet.fill(_box(0.328, 0.40, 0.342, 0.82), 0.02)
    sheet.fill([(0.315, 0.82), (0.355, 0.82), (0.365, 0.85), (0.305, 0.85)], 0.02)
    sheet.shape_of([(0.310, 0.345), (0.360, 0.345), (0.350, 0.405), (0.320, 0.405)], 1.0, 2.6)
    sheet.fill([(0.300, 0.347), (0.370, 0.347), (0.335, 0.315)], 0.02)


def _man(sheet: _Sheet) -> None:
    """Hat, coat, collar; all in black but for the side towards the lamp."""
    sheet.fill([(0.484, 0.84), (0.505, 0.84), (0.502, 0.888), (0.508, 0.897), (0.474, 0.897)], 0.02)
    sheet.fill([(0.522, 0.84), (0.543, 0.84), (0.546, 0.886), (0.562, 0.897), (0.524, 0.897)], 0.02)
    coat = [
        (0.492, 0.652), (0.534, 0.650), (0.560, 0.664), (0.572, 0.690), (0.582, 0.775), (0.570, 0.780),
        (0.566, 0.790), (0.578, 0.862), (0.545, 0.870), (0.520, 0.866), (0.490, 0.872), (0.456, 0.864),
        (0.464, 0.790), (0.456, 0.782), (0.446, 0.776), (0.454, 0.692), (0.468, 0.666),
    ]  # fmt: skip
    sheet.fill(coat, 0.03)
    lit = [(0.468, 0.668), (0.480, 0.664), (0.470, 0.700), (0.468, 0.780), (0.470, 0.864), (0.457, 0.864)]
    sheet.fill([*lit, (0.464, 0.790), (0.447, 0.775), (0.455, 0.692)], 0.88)
    sheet.line([(0.468, 0.700), (0.463, 0.776)], 1.6)
    sheet.fill([(0.495, 0.610), (0.526, 0.610), (0.529, 0.640), (0.516, 0.656), (0.502, 0.652)], 0.05)
    sheet.fill([(0.494, 0.610), (0.507, 0.610), (0.505, 0.650), (0.500, 0.648), (0.495, 0.632)], 0.92)
    sheet.fill(
        [(0.484, 0.660), (0.494, 0.636), (0.512, 0.662), (0.531, 0.634), (0.546, 0.658), (0.514, 0.690)], 0.02
    )
    sheet.fill(
        [(0.464, 0.613), (0.486, 0.602), (0.536, 0.601), (0.560, 0.611), (0.536, 0.621), (0.488, 0.621)], 0.02
    )
    sheet.fill(
        [
            (0.485, 0.606),
            (0.490, 0.574),
            (0.503, 0.568),
            (0.512, 0.575),
            (0.524, 0.567),
            (0.534, 0.576),
            (0.537, 0.606),
        ],
        0.02,
    )


def _wash_lake(sheet: _Sheet) -> Tone:
    """Mountains in mist behind a lake, a pine in front, a boat."""
    rng = sheet.rng
    _, ys = places(sheet.shape)
    down = as_tone(np.broadcast_to(ys / sheet.shape[0], sheet.shape))
    tone = as_tone(0.94 - 0.10 * np.abs(down - 0.2))
    for base, height, depth, shade in (
        (0.46, 0.26, 0.05, 0.74),
        (0.52, 0.20, 0.06, 0.60),
        (0.57, 0.13, 0.05, 0.46),
        (0.61, 0.07, 0.03, 0.34),
    ):
        tone = _mountain(sheet, tone, base=base, height=height, rough=depth, shade=shade)
    water = smoothstep(0.615, 0.625, down)
    mirror = as_tone(tone[_mirror_rows(sheet.shape[0], at=0.62)])
    rippled = noise(sheet.shape, (sheet.shape[1] / 3, 7.0 * sheet.scale), rng)
    lake = as_tone(0.30 + 0.62 * blur(mirror, 9.0 * sheet.scale) + 0.035 * rippled)
    tone = mix(tone, lake, water)
    mist = np.exp(-(((down - 0.585) / 0.035) ** 2)) * 0.35
    tone = mix(tone, 0.93, as_tone(mist))
    _boat(sheet)
    _shore(sheet)
    _pine(sheet, foot=(0.20, 0.93), height=0.74)
    _pine(sheet, foot=(0.35, 0.95), height=0.46)
    _reeds(sheet)
    tone = as_tone(tone * blur(sheet.tone, 1.2 * sheet.scale))
    paper = _tooth(sheet)
    washed = wash(tone, scale=sheet.scale, rng=rng, paper=paper)
    drawn = as_tone(washed * (1.0 - sheet.ink * np.clip(0.82 - 0.25 * smoothstep(0.6, 1.6, paper), 0.0, 1.0)))
    mottled = noise(sheet.shape, (90.0 * sheet.scale, 90.0 * sheet.scale), rng)
    return as_tone(0.09 + 0.84 * drawn + 0.013 * paper + 0.008 * mottled)


def _mountain(sheet: _Sheet, tone: Tone, *, base: float, height: float, rough: float, shade: float) -> Tone:
    """One range, darkest along its ridge and lost in mist at its foot."""
    at = np.linspace(0.0, 1.0, 160)
    ridge: NDArray[np.float64] = np.zeros(at.size)
    for octave in range(1, 7):
        knots = 1 << octave
        waves = sheet.rng.standard_normal(knots + 2)
        ridge += np.interp(at * knots, np.arange(knots + 2), waves) / knots
    tops = base - height * (0.55 + 0.45 * np.sin(at * 3.0 + 9.0 * base)) - rough * ridge
    points = [*zip(at, tops, strict=True), (1.0, 0.63), (0.0, 0.63)]
    inside = blur(sheet.mask(points), 1.0 * sheet.scale)
    _, ys = places(sheet.shape)
    down = as_tone(np.broadcast_to(ys / sheet.shape[0], sheet.shape))
    faded = np.clip((down - np.float32(base - height)) / np.float32(height + 0.12), 0.0, 1.0)
    streaks = noise(sheet.shape, (14.0 * sheet.scale, 60.0 * sheet.scale), sheet.rng) * np.float32(0.015)
    sheet.line(list(zip(at, tops, strict=True)), 0.8 + 1.2 * (0.8 - shade))
    return mix(tone, as_tone(shade + (0.93 - shade) * faded**1.4 + streaks), inside)


def _mirror_rows(rows: int, *, at: float) -> NDArray[np.intp]:
    """For each row the one as far on the other side of the water's edge."""
    return np.clip(2 * round(at * rows) - np.arange(rows), 0, rows - 1)


def _boat(sheet: _Sheet) -> None:
    sheet.shape_of([(0.60, 0.742), (0.78, 0.738), (0.755, 0.762), (0.63, 0.764)], 0.28, 1.8)
    sheet.shape_of(
        [(0.675, 0.742), (0.676, 0.705), (0.688, 0.690), (0.702, 0.705), (0.706, 0.740)], 0.22, 1.4
    )
    sheet.line([(0.64, 0.690), (0.735, 0.790)], 1.5)
    for row, reach in enumerate((0.09, 0.07, 0.045)):
        y = 0.775 + 0.012 * row
        sheet.line([(0.69 - reach, y), (0.69 + reach * 0.8, y + 0.001)], 1.3)


def _shore(sheet: _Sheet) -> None:
    bank = [(0.0, 0.90), (0.10, 0.915), (0.26, 0.905), (0.44, 0.935), (0.60, 0.965), (0.72, 1.0), (0.0, 1.0)]
    sheet.shape_of(bank, 0.34, 2.2)
    sheet.fill([(0.0, 0.955), (0.20, 0.945), (0.46, 0.985), (0.52, 1.0), (0.0, 1.0)], 0.18)


def _pine(sheet: _Sheet, *, foot: tuple[float, float], height: float) -> None:
    """A trunk, and boughs as brushed clumps of needles."""
    rng = sheet.rng
    x, y = foot
    lean = 0.05 * height
    sheet.fill(
        [(x - 0.011, y), (x + 0.011, y), (x + lean + 0.003, y - height), (x + lean - 0.002, y - height)], 0.14
    )
    for step in np.linspace(0.22, 0.98, 17):
        reach = (1.03 - step) * 0.24 * (height + 0.25)
        for side in (-1.0, 1.0):
            root = (x + lean * step, y - height * step)
            tip = (root[0] + side * reach * rng.uniform(0.7, 1.1), root[1] + 0.025 * rng.uniform(0.4, 1.3))
            sheet.line([root, tip], 2.6 * (1.1 - step) + 0.8)
            for share in np.linspace(0.25, 1.0, 9):
                px = root[0] + (tip[0] - root[0]) * share
                py = root[1] + (tip[1] - root[1]) * share
                for _ in range(11):
                    dx, dy = rng.uniform(-0.016, 0.016), rng.uniform(-0.016, 0.006)
                    sheet.line([(px, py), (px + dx, py + dy)], 1.2)


def _reeds(sheet: _Sheet) -> None:
    for start in sheet.rng.uniform(0.46, 0.74, 26):
        length = sheet.rng.uniform(0.05, 0.13)
        bend = sheet.rng.uniform(-0.02, 0.03)
        foot = 0.945 + 0.20 * (start - 0.46) + 0.01
        stalk = [(start, foot), (start + bend * 0.3, foot - length * 0.6), (start + bend, foot - length)]
        sheet.line(stalk, sheet.rng.uniform(0.9, 1.8))


def _tooth(sheet: _Sheet) -> Tone:
    fine = noise(sheet.shape, (3.0, 3.0), sheet.rng)
    coarse = noise(sheet.shape, (9.0, 9.0), sheet.rng)
    return as_tone(0.8 * fine + 0.6 * coarse)


_SCENES: Final[dict[ReferenceKind, Callable[[_Sheet], Tone]]] = {
    "noir ink": _noir_street,
    "ink wash": _wash_lake,
}
