"""The drawing itself: contour lines, hatching, wash, paper."""

from typing import Final

import cv2
import numpy as np

from kroma.imaging.restyle.field import (
    Tone,
    along,
    as_tone,
    blur,
    flow,
    mix,
    noise,
    percentile,
    positions,
    smoothstep,
)
from kroma.imaging.restyle.profile import StyleProfile, two_tone_share
from kroma.imaging.restyle.recipe import Recipe

_LAYERS: Final = ((0.74, 0.0, 1.0), (0.46, 1.0, 0.95), (0.24, 0.5, 0.85))
"""Hatching: the tone where a layer begins, its share of the crossing angle, its distance."""

_INK_SCALE: Final = 0.7
"""At this scale, or the picture's own, strokes are looked for."""
_DRAWN: Final = 0.045
"""Share of thin strokes: photographs have up to 0.026, drawings from 0.07."""
_FULL_RANGE: Final = 0.6
"""Of ink and paper: a dark or a pale photograph has two ends too, but near each other."""
_TWO_TONE: Final = 0.6
"""Share of ink and paper alone, 0 to 1: a photograph in hard light has 0.3, a noir drawing 0.8."""


def is_drawn(luma: Tone, scale: float) -> bool:
    """Whether a scene is a drawing: more thin dark strokes, or more ink and paper, than a photograph has."""
    reach = 2 * max(1, round(4.5 * min(scale, _INK_SCALE))) + 1
    factor = min(1.0, _INK_SCALE / scale)
    size = (max(1, round(luma.shape[1] * factor)), max(1, round(luma.shape[0] * factor)))
    small = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    strokes = cv2.morphologyEx(small, cv2.MORPH_BLACKHAT, disc) > 0.2  # noqa: PLR2004 - ink on paper, not shade
    if float(strokes.mean()) > _DRAWN:
        return True
    ink, paper = percentile(as_tone(small), 1.0, 96.0)
    return paper - ink > _FULL_RANGE and two_tone_share(as_tone(small), ink, paper) > _TWO_TONE


def draw(
    tone: Tone, detail: Tone, style: StyleProfile, recipe: Recipe, *, scale: float, rng: np.random.Generator
) -> Tone:
    """The scene as a drawing, 0 ink to 1 paper.

    Args:
        tone: What to shade, lit and in its weather.
        detail: What to outline: the scene's own tones, so that night does not lose its edges.
        style: The references' hand.
        recipe: This variation's.
        scale: Pixels per thousandth of the picture.
        rng: Of this candidate.
    """
    paper = _paper(tone, rng)
    drawn = _shaded(tone, style, recipe, strokes=1.0, paper=paper, scale=scale, rng=rng)
    lines = contour(detail, recipe, style, scale=scale)
    lines = as_tone(lines * np.clip(1.0 - recipe.dry * 0.5 * smoothstep(0.4, 1.6, paper), 0.0, 1.0))
    return _with_lines(drawn, lines, tone, scale=scale)


def redrawn(
    drawing: Tone,
    flat: Tone,
    tone: Tone,
    style: StyleProfile,
    recipe: Recipe,
    *,
    scale: float,
    rng: np.random.Generator,
) -> Tone:
    """A drawing in another light: its own strokes stay, and only the change of light is drawn over them.

    Args:
        drawing: As it is, 0 ink to 1 paper.
        flat: Its tones without the strokes.
        tone: The same, lit.
        style: The references' hand.
        recipe: This variation's.
        scale: Pixels per thousandth of the picture.
        rng: Of this candidate.
    """
    shade = as_tone(np.clip(tone / np.maximum(flat, np.float32(0.08)), 0.0, 1.0))
    lift = np.maximum(tone - flat, np.float32(0.0))
    laid = _shaded(shade, style, recipe, strokes=0.45, paper=_paper(tone, rng), scale=scale, rng=rng)
    darker = as_tone(drawing * laid)
    lit = as_tone(darker + lift * (np.float32(1.0) - darker))
    own = contour(blur(drawing, 1.1 * scale), recipe, style, scale=scale)
    return _with_lines(lit, as_tone(own * np.float32(0.8)), tone, scale=scale)


def without_strokes(drawing: Tone, scale: float) -> Tone:
    """The tones that a drawing's strokes make."""
    return _flattened(blur(drawing, 2.2 * scale), max(1, round(8.0 * scale)))


def _shaded(
    tone: Tone,
    style: StyleProfile,
    recipe: Recipe,
    *,
    strokes: float,
    paper: Tone,
    scale: float,
    rng: np.random.Generator,
) -> Tone:
    """Wash, hatching and solid black, as much of each as references and recipe want."""
    drawn_share = max(style.two_tone, style.hatching)
    hatch_share = strokes * float(np.clip(0.55 * recipe.hatch + 0.45 * drawn_share, 0.0, 1.0))
    wash_share = float(np.clip(0.6 * recipe.wash + 0.4 * (1.0 - style.two_tone), 0.0, 1.0))
    if strokes < 1.0:
        wash_share = max(wash_share, 0.8)
    washed = mix(np.ones_like(tone), wash(tone, scale=scale, rng=rng, paper=paper), wash_share)
    hatched = hatching(tone, recipe, scale=scale, rng=rng, paper=paper)
    blacks = smoothstep(recipe.blacks + 0.05, recipe.blacks - 0.05, blur(tone, 1.2 * scale))
    drawn = as_tone(washed * (np.float32(1.0) - hatched * np.float32(hatch_share)))
    return as_tone(drawn * (np.float32(1.0) - blacks * np.float32(0.96)))


def _with_lines(drawn: Tone, lines: Tone, tone: Tone, *, scale: float) -> Tone:
    """Dark lines on the lights; in the deep shadows the same lines scratched out, so that forms stay."""
    # Only where both sides are dark: black against light needs no line at all.
    reach = np.ones((2 * max(1, round(4.0 * scale)) + 1,) * 2, dtype=np.uint8)
    dark = smoothstep(0.26, 0.10, blur(as_tone(cv2.dilate(tone, reach)), 2.0 * scale))
    inked = as_tone(drawn * (np.float32(1.0) - lines * (np.float32(1.0) - dark)))
    return mix(inked, 0.36, lines * dark * np.float32(0.8))


def contour(detail: Tone, recipe: Recipe, style: StyleProfile, *, scale: float) -> Tone:
    """Ink lines along the scene's edges, 0 to 1: fine ones everywhere, heavy ones on strong edges."""
    weight = recipe.line * style.line_weight
    direction = flow(detail, 2.2 * scale + 0.6)
    fine = _edges(detail, 1.15 * scale * weight, direction, scale=scale)
    bold = _edges(detail, 2.6 * scale * weight, direction, scale=scale)
    lines = np.maximum(smoothstep(0.30, 0.62, fine) * np.float32(0.92), smoothstep(0.36, 0.60, bold))
    return _without_specks(as_tone(lines), scale)


def _edges(detail: Tone, sigma: float, direction: tuple[Tone, Tone], *, scale: float) -> Tone:
    """Difference of Gaussians on the dark side of edges, over the contrast around it, along the flow."""
    sigma = max(sigma, 0.45)
    narrow, wide = blur(detail, sigma), blur(detail, sigma * 1.6)
    response = np.maximum(wide - narrow, 0.0)
    around = blur(response, 22.0 * scale)
    relative = as_tone(response / (around * np.float32(2.6) + np.float32(0.018)))
    return along(relative, direction, 7.0 * scale + 0.5)


def _without_specks(lines: Tone, scale: float) -> Tone:
    """The lines without marks too small for a pen to mean."""
    mask = (lines > 0.25).astype(np.uint8)  # noqa: PLR2004 - visible at all
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    small = np.asarray(stats)[:, cv2.CC_STAT_AREA] < 90.0 * scale * scale
    small[0] = False
    return as_tone(np.where(small[np.asarray(labels, dtype=np.intp)], 0.0, lines))


def hatching(tone: Tone, recipe: Recipe, *, scale: float, rng: np.random.Generator, paper: Tone) -> Tone:
    """Strokes that make the tone, 0 none to 1 ink: wider and crossed where it is darker."""
    shape = (tone.shape[0], tone.shape[1])
    xs, ys = positions(shape)
    soft = blur(tone, 0.8 * scale)  # wider would carry strokes over the edges of black shapes
    form = blur(tone, 12.0 * scale)
    inked = np.zeros_like(tone)
    for begins, turn, distance in _LAYERS:
        period = max(2.2, recipe.period * distance * scale)
        angle = np.radians(recipe.angle + turn * recipe.cross)
        across = as_tone(
            (xs * np.float32(np.cos(angle)) + ys * np.float32(np.sin(angle))) / np.float32(period)
        )
        wobble = noise(shape, (70.0 * scale + 2, 70.0 * scale + 2), rng) * np.float32(0.22)
        phase = across + form * np.float32(recipe.follow * 3.0) + wobble
        middle = np.abs(phase - np.floor(phase) - np.float32(0.5)) * np.float32(2.0)
        hand = noise(shape, (28.0 * scale + 1, 28.0 * scale + 1), rng) * np.float32(0.028)
        width = np.clip((np.float32(begins) - soft + hand) * np.float32(1.45), 0.0, 0.92)
        width = width - np.float32(0.10 * recipe.dry) * np.maximum(paper, 0.0)
        edge = np.float32(1.1 / period)
        stroke = np.clip((width - middle) / (np.float32(2.0) * edge) + np.float32(0.5), 0.0, 1.0)
        visible = smoothstep(0.05, 0.14, as_tone(width))
        inked = np.maximum(inked, as_tone(stroke * visible))
    return inked


def wash(tone: Tone, *, scale: float, rng: np.random.Generator, paper: Tone) -> Tone:
    """Gray washes: a few flat tones with soft, darkened edges and pigment in the paper's hollows."""
    flat = _flattened(tone, max(1, round(3.5 * scale)))
    shape = (tone.shape[0], tone.shape[1])
    pulled = noise(shape, (150.0 * scale + 2, 150.0 * scale + 2), rng) * np.float32(0.015)
    steps = np.float32(5.0)
    scaled = (flat + pulled) * steps
    level = np.floor(scaled)
    within = scaled - level
    stepped = (level + smoothstep(0.30, 0.70, as_tone(within))) / steps
    even = np.clip(mix(as_tone(stepped), flat, 0.35), 0.0, 1.0)
    laid = as_tone(even ** np.float32(0.88))  # water keeps the lights near paper
    pooled = np.maximum(blur(laid, 3.2 * scale) - laid, 0.0) * np.float32(0.7)
    granules = paper * np.float32(0.028) * (np.float32(1.0) - laid)
    return as_tone(np.clip(laid - pooled - granules, 0.0, 1.0))


def _flattened(tone: Tone, radius: int) -> Tone:
    """Kuwahara's filter: each pixel takes its calmest quadrant's mean, so edges stay and texture goes."""
    side = radius + 1
    kernel = (side, side)
    mean = as_tone(cv2.blur(tone, kernel, anchor=(0, 0)))
    square = as_tone(cv2.blur(tone * tone, kernel, anchor=(0, 0)))
    spread = square - mean * mean
    best, least = mean, spread
    for dy, dx in ((0, -radius), (-radius, 0), (-radius, -radius)):
        matrix = np.array([[1, 0, -dx], [0, 1, -dy]], dtype=np.float32)
        size = (tone.shape[1], tone.shape[0])
        other = as_tone(
            cv2.warpAffine(mean, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        )
        other_spread = as_tone(
            cv2.warpAffine(spread, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        )
        calmer = other_spread < least
        best = np.where(calmer, other, best)
        least = np.where(calmer, other_spread, least)
    return best


def on_paper(
    drawing: Tone, style: StyleProfile, *, deepest: float, scale: float, rng: np.random.Generator
) -> Tone:
    """The drawing between the references' ink, no lighter than ``deepest``, and paper, with their grain."""
    shape = (drawing.shape[0], drawing.shape[1])
    grain = noise(shape, (1.6 * scale + 0.4, 1.6 * scale + 0.4), rng)
    mottled = noise(shape, (60.0 * scale + 2, 60.0 * scale + 2), rng)
    texture = grain * np.float32(0.006 + 0.6 * style.grain) + mottled * np.float32(0.005)
    ink = min(style.ink, deepest)
    level = np.float32(ink) + np.float32(style.paper - ink) * drawing
    return as_tone(np.clip(level + texture * (np.float32(0.25) + np.float32(0.75) * drawing), 0.0, 1.0))


def _paper(tone: Tone, rng: np.random.Generator) -> Tone:
    """The paper's tooth, about unit deviation."""
    shape = (tone.shape[0], tone.shape[1])
    fine, coarse = noise(shape, (2.2, 2.2), rng), noise(shape, (7.0, 7.0), rng)
    return as_tone(np.float32(0.8) * fine + np.float32(0.6) * coarse)


def evened(luma: Tone) -> Tone:
    """The scene between black and white."""
    low, high = percentile(luma, 0.5, 99.5)
    spread = max(0.05, high - low)
    return as_tone(np.clip((luma - np.float32(low)) / np.float32(spread), 0.0, 1.0))


def smoothed(luma: Tone, scale: float) -> Tone:
    """The scene between black and white, without its texture, edges kept."""
    reach = 2.4 * scale + 0.6
    return as_tone(cv2.bilateralFilter(evened(luma), 2 * round(reach) + 1, 0.09, reach))
