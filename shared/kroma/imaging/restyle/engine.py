"""One candidate, drawn from beginning to end; runs in a picture process."""

import hashlib
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from kroma.imaging.codec import Picture, decode, encode_png
from kroma.imaging.restyle import ink, light, weather
from kroma.imaging.restyle.colour import coloured
from kroma.imaging.restyle.field import Tone, as_tone
from kroma.imaging.restyle.order import RedrawnPicture, RedrawOrder
from kroma.imaging.restyle.profile import StyleProfile, measure
from kroma.imaging.restyle.recipe import Recipe, described, recipe_of

FINE_PIXELS: Final = 600_000
"""Smaller scenes are drawn at twice their size and reduced, which smooths the lines."""
MOST_PIXELS: Final = 6_000_000
"""Larger scenes are drawn at this size and enlarged: some twenty arrays of floats are alive at once."""


def redraw(order: RedrawOrder) -> RedrawnPicture:
    """Draw one candidate.

    Raises:
        PictureError: The scene or a reference does not decode.
        InvalidSizeError: The size is no ``<width>x<height>`` within the limit.
    """
    cv2.setNumThreads(1)  # the pool has a process per core already
    size = order.size_px
    scene = decode(order.scene, name=order.scene_name)
    if size is not None:
        scene = filled(scene, size)
    style = measure([decode(data, name=name).pixels[..., :3] for name, data in order.styles])
    recipe = recipe_of(order.seed, order.candidate_index)
    pixels, slant = _drawn(np.ascontiguousarray(scene.pixels[..., :3]), order, style, recipe)
    if scene.alpha is not None:
        pixels = np.dstack([pixels, scene.alpha])
    parameters = {**described(recipe), "two_tone": style.two_tone, "line_weight": style.line_weight}
    parameters |= {"night": order.at_night, "rain_slant": slant}
    height, width = pixels.shape[:2]
    png = encode_png(Picture(pixels, scene.icc_profile))
    return RedrawnPicture(png=png, width=width, height=height, parameters=parameters)


def filled(picture: Picture, size: tuple[int, int]) -> Picture:
    """The picture scaled to cover ``(width, height)``, the overhang cut evenly from both sides."""
    height, width = picture.pixels.shape[:2]
    factor = max(size[0] / width, size[1] / height)
    covering = (max(size[0], round(width * factor)), max(size[1], round(height * factor)))
    scaled = _resized(picture.pixels, covering)
    left, top = (covering[0] - size[0]) // 2, (covering[1] - size[1]) // 2
    cut = scaled[top : top + size[1], left : left + size[0]]
    return Picture(np.ascontiguousarray(cut), picture.icc_profile)


def _drawn(
    rgb: NDArray[np.uint8], order: RedrawOrder, style: StyleProfile, recipe: Recipe
) -> tuple[NDArray[np.uint8], float | None]:
    height, width = rgb.shape[:2]
    work = _resized(rgb, _work_size(width, height))
    scale = float(np.sqrt(work.shape[0] * work.shape[1])) / 1000.0
    rng = _rng(order)
    luma = as_tone(cv2.cvtColor(work, cv2.COLOR_RGB2GRAY)) / np.float32(255.0)
    detail = ink.smoothed(luma, scale)
    tone = light.match_tones(detail, style.tones, contrast=recipe.contrast, scale=scale)
    if order.at_night:
        tone = light.night(tone, recipe, scale=scale, rng=rng)
    elif order.by_day:
        tone = light.daylight(tone)
    wet: Tone | None = None
    if order.in_rain:
        tone, wet = weather.soak(tone, scale=scale, rng=rng)
    drawing = ink.draw(tone, detail, style, recipe, scale=scale, rng=rng)
    slant: float | None = None
    if wet is not None:
        drawing, slant = weather.fall(drawing, wet, scale=scale, rng=rng)
    laid = ink.on_paper(drawing, style, scale=scale, rng=rng)
    return _resized(coloured(laid, work, style, scale=scale, night=order.at_night), (width, height)), slant


def _work_size(width: int, height: int) -> tuple[int, int]:
    pixels = width * height
    factor = 2.0 if pixels < FINE_PIXELS else min(1.0, float(np.sqrt(MOST_PIXELS / pixels)))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    method = cv2.INTER_AREA if size[0] < width else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=method), dtype=np.uint8)


def _rng(order: RedrawOrder) -> np.random.Generator:
    """Chance that follows from the inputs, the seed and the index alone."""
    digest = hashlib.sha256(order.scene)
    for _, data in order.styles:
        digest.update(data)
    return np.random.default_rng(
        [order.seed, order.candidate_index, int.from_bytes(digest.digest()[:8], "little")]
    )
