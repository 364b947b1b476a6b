"""The variations: what makes one candidate another drawing than the next."""

from typing import Any, Final

import msgspec
import numpy as np

from kroma.imaging.restyle.lights import DayLight, NightLight, Rainfall
from kroma.imaging.restyle.profile import StyleProfile


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How a drawing is made. Shares are 0 to 1; lengths are in thousandths of the picture's scale."""

    name: str
    hatch: float
    """Share of the tone that strokes carry."""
    wash: float
    """Share of the tone that gray washes carry."""
    line: float
    """Width of the contour, 1 the references'."""
    period: float
    """Distance of hatching strokes."""
    angle: float
    """Of the first hatching, in degrees."""
    cross: float
    """Angle from the first hatching to the second, in degrees."""
    follow: float
    """How far strokes bend with the forms, in periods."""
    contrast: float
    """Of the tones, 1 as matched to the references."""
    blacks: float
    """Tone below which all is ink."""
    dry: float
    """How far the paper breaks up strokes."""


RECIPES: Final = (
    Recipe(
        name="brush and hatch",
        hatch=0.9,
        wash=0.35,
        line=1.15,
        period=12.0,
        angle=42.0,
        cross=64.0,
        follow=0.5,
        contrast=1.0,
        blacks=0.14,
        dry=0.25,
    ),
    Recipe(
        name="wash over line",
        hatch=0.0,
        wash=1.0,
        line=0.75,
        period=13.0,
        angle=118.0,
        cross=40.0,
        follow=0.3,
        contrast=1.15,
        blacks=0.06,
        dry=0.5,
    ),
    Recipe(
        name="crossed shadows",
        hatch=1.0,
        wash=0.12,
        line=1.1,
        period=10.5,
        angle=150.0,
        cross=54.0,
        follow=0.5,
        contrast=1.2,
        blacks=0.1,
        dry=0.15,
    ),
    Recipe(
        name="dry brush",
        hatch=0.45,
        wash=0.8,
        line=1.3,
        period=15.0,
        angle=75.0,
        cross=30.0,
        follow=1.0,
        contrast=1.12,
        blacks=0.17,
        dry=1.0,
    ),
    Recipe(
        name="engraved forms",
        hatch=1.0,
        wash=0.0,
        line=0.7,
        period=8.0,
        angle=8.0,
        cross=46.0,
        follow=2.2,
        contrast=1.08,
        blacks=0.07,
        dry=0.1,
    ),
    Recipe(
        name="spotted blacks",
        hatch=0.5,
        wash=0.0,
        line=1.7,
        period=16.0,
        angle=135.0,
        cross=90.0,
        follow=0.3,
        contrast=1.45,
        blacks=0.3,
        dry=0.1,
    ),
)
"""A ring: neighbors differ most, since two candidates are the usual order."""


def recipe_of(seed: int, candidate_index: int) -> Recipe:
    """The recipe of a candidate: six in a row all differ; the seed decides the first and the details."""
    base = RECIPES[(seed + candidate_index - 1) % len(RECIPES)]
    rng = np.random.default_rng([seed, candidate_index])

    def near(value: float, share: float) -> float:
        return round(value * float(rng.uniform(1.0 - share, 1.0 + share)), 3)

    return msgspec.structs.replace(
        base,
        line=near(base.line, 0.1),
        period=near(base.period, 0.08),
        angle=round(base.angle + float(rng.uniform(-7.0, 7.0)), 1),
        contrast=near(base.contrast, 0.05),
    )


class Variation(msgspec.Struct, frozen=True, kw_only=True):
    """All that makes one candidate: a way of drawing, and the light and the rain where it has some."""

    recipe: Recipe
    night: NightLight | None
    day: DayLight | None
    rain: Rainfall | None


def suited(recipe: Recipe, style: StyleProfile) -> Recipe:
    """The recipe with the references' strokes, as far as they have some."""
    if not style.stroke_period:
        return recipe
    share = 0.7 * style.hatching
    # A recipe's own turn against the first one's stays, so that variations differ.
    turned = style.stroke_angle + (recipe.angle - RECIPES[0].angle)
    apart = (turned - recipe.angle + 90.0) % 180.0 - 90.0
    period = recipe.period + (style.stroke_period * recipe.period / RECIPES[0].period - recipe.period) * share
    return msgspec.structs.replace(
        recipe, period=round(period, 3), angle=round(recipe.angle + share * apart, 1)
    )


def described(variation: Variation) -> dict[str, Any]:
    """The variation for a person to read: its names as ``variation``, its parts with their figures."""
    parts = [
        part
        for part in (variation.recipe, variation.night, variation.day, variation.rain)
        if part is not None
    ]
    described: dict[str, Any] = {"variation": "; ".join(part.name for part in parts)}
    described["hand"] = msgspec.structs.asdict(variation.recipe)
    if variation.night is not None:
        described["night_light"] = msgspec.structs.asdict(variation.night)
    if variation.day is not None:
        described["day_light"] = msgspec.structs.asdict(variation.day)
    if variation.rain is not None:
        described["rain"] = msgspec.structs.asdict(variation.rain)
    return described
