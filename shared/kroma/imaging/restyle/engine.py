"""One candidate, drawn from beginning to end; runs in a picture process."""

import hashlib
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from kroma.imaging.codec import Picture, decode, encode_png
from kroma.imaging.errors import PictureTooLargeError
from kroma.imaging.restyle import ink, light, weather
from kroma.imaging.restyle.color import colored
from kroma.imaging.restyle.field import Tone, as_tone
from kroma.imaging.restyle.lights import day_light_of, night_light_of, rainfall_of
from kroma.imaging.restyle.night import day, night
from kroma.imaging.restyle.profile import StyleProfile, measure, summary, with_color_of
from kroma.imaging.restyle.recipe import Variation, described, recipe_of, suited
from kroma.imaging.restyle.spec import RedrawnPicture, RedrawSpec

_LENT: Final = 0.15
"""Share of their color that character references lend."""
FINE_PIXELS: Final = 600_000
"""Smaller scenes are drawn at twice their size and reduced, which smooths the lines."""
_NIGHT_INK: Final = 0.06
"""By night there is black in every style."""
MOST_PIXELS: Final = 6_000_000
"""Larger scenes are drawn at this size and enlarged: some twenty arrays of floats are alive at once."""


def redraw(spec: RedrawSpec) -> RedrawnPicture:
    """Draw one candidate.

    Raises:
        PictureError: The scene or a reference does not decode, or there is not memory enough for them.
        InvalidSizeError: The size is no ``<width>x<height>`` within the limit.
    """
    try:
        return _redrawn(spec)
    except (MemoryError, cv2.error) as exc:
        if isinstance(exc, cv2.error) and exc.code != cv2.Error.StsNoMem:
            raise
        problem = "drawing it needs more memory than a picture process has"
        raise PictureTooLargeError(spec.scene_name, problem, "64 megapixels") from exc


def _redrawn(spec: RedrawSpec) -> RedrawnPicture:
    cv2.setNumThreads(1)  # the pool has a process per core already
    size = spec.size_px
    scene = decode(spec.scene, name=spec.scene_name)
    if size is not None:
        scene = filled(scene, size)
    style = measure([decode(data, name=name).pixels[..., :3] for name, data in spec.styles])
    lent = 0.0
    if spec.references:
        shown = measure([decode(data, name=name).pixels[..., :3] for name, data in spec.references])
        lent = 0.0 if style.is_gray else _LENT
        style = with_color_of(style, shown, share=lent)
    variation = _varied(spec, style)
    pixels, kept = _drawn(np.ascontiguousarray(scene.pixels[..., :3]), spec, style, variation)
    if scene.alpha is not None:
        pixels = _over_paper(pixels, scene.alpha) if spec.opaque else np.dstack([pixels, scene.alpha])
    parameters = {**described(variation), "style": summary(style), "keeps_strokes": kept}
    parameters["references"] = {"count": len(spec.references), "color_share": lent}
    height, width = pixels.shape[:2]
    png = encode_png(Picture(pixels, scene.icc_profile))
    return RedrawnPicture(png=png, width=width, height=height, parameters=parameters)


def _over_paper(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture on its own lightest tone, where it was transparent."""
    paper = np.percentile(pixels.reshape(-1, 3), 99.0, axis=0)
    share = alpha[..., None].astype(np.float32) / np.float32(255.0)
    return np.rint(pixels * share + paper * (np.float32(1.0) - share)).astype(np.uint8)


def _varied(spec: RedrawSpec, style: StyleProfile) -> Variation:
    """What this candidate is made of."""
    chosen = (spec.seed, spec.candidate_index)
    return Variation(
        recipe=suited(recipe_of(*chosen), style),
        night=night_light_of(*chosen) if spec.at_night else None,
        day=day_light_of(*chosen) if spec.is_relit and not spec.at_night else None,
        rain=rainfall_of(*chosen) if spec.in_rain else None,
    )


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
    rgb: NDArray[np.uint8], spec: RedrawSpec, style: StyleProfile, variation: Variation
) -> tuple[NDArray[np.uint8], bool]:
    """The picture, and whether the scene was a drawing whose strokes were kept."""
    height, width = rgb.shape[:2]
    work = _resized(rgb, _work_size(width, height))
    scale = float(np.sqrt(work.shape[0] * work.shape[1])) / 1000.0
    rng = _rng(spec)
    luma = as_tone(cv2.cvtColor(work, cv2.COLOR_RGB2GRAY)) / np.float32(255.0)
    keep = spec.is_relit and ink.is_drawn(luma, scale)
    recipe = variation.recipe
    if keep:
        detail = ink.evened(luma)
        flat = ink.without_strokes(detail, scale)
    else:
        detail = ink.smoothed(luma, scale)
        flat = light.match_tones(detail, style.tones, contrast=recipe.contrast, scale=scale)
    tone, air = _lit(flat, detail, spec, variation, scale=scale)
    if keep:
        drawing = ink.redrawn(detail, flat, tone, style, recipe, scale=scale, rng=rng)
    else:
        drawing = ink.draw(tone, detail, style, recipe, scale=scale, rng=rng)
    if air is not None:
        drawing = as_tone(drawing + air * (np.float32(1.0) - drawing))
    if variation.rain is not None:
        drawing = weather.rained_on(
            drawing, flat, tone, variation.rain, at_night=spec.at_night, scale=scale, rng=rng
        )
    laid = ink.on_paper(drawing, style, scale=scale, rng=rng, deepest=_NIGHT_INK if spec.at_night else 1.0)
    pixels = colored(laid, work, style, scale=scale, night=spec.at_night)
    return _resized(pixels, (width, height)), keep


def _lit(
    flat: Tone, detail: Tone, spec: RedrawSpec, variation: Variation, *, scale: float
) -> tuple[Tone, Tone | None]:
    """The tones in the light that was asked for, and the light in the air."""
    tone, air = flat, None
    if variation.night is not None:
        tone, air = night(flat, detail, variation.night, scale=scale)
    elif variation.day is not None:
        tone = day(light.daylight(flat) if spec.by_day else flat, variation.day, scale=scale)
    if spec.in_rain:
        tone = weather.overcast(tone, at_night=spec.at_night)
    return tone, air


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


def _rng(spec: RedrawSpec) -> np.random.Generator:
    """Chance that follows from the inputs, the seed and the index alone."""
    digest = hashlib.sha256(spec.scene)
    for _, data in (*spec.styles, *spec.references):
        digest.update(data)
    return np.random.default_rng(
        [spec.seed, spec.candidate_index, int.from_bytes(digest.digest()[:8], "little")]
    )
