"""The variations: what makes one candidate another drawing than the next."""

from typing import Any, Final

import msgspec
import numpy as np


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How a drawing is made. Shares are 0 to 1; lengths are in thousandths of the picture's scale."""

    name: str
    hatch: float
    """Share of the tone that strokes carry."""
    wash: float
    """Share of the tone that grey washes carry."""
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
    light_from: float = -1.0
    """Side the night's light comes from: -1 left, 1 right."""


RECIPES: Final = (
    Recipe(
        name="brush and hatch",
        hatch=0.85,
        wash=0.45,
        line=1.0,
        period=7.0,
        angle=42.0,
        cross=62.0,
        follow=0.6,
        contrast=1.0,
        blacks=0.13,
        dry=0.25,
    ),
    Recipe(
        name="wash over line",
        hatch=0.2,
        wash=1.0,
        line=0.8,
        period=9.0,
        angle=118.0,
        cross=40.0,
        follow=0.3,
        contrast=0.92,
        blacks=0.07,
        dry=0.5,
        light_from=1.0,
    ),
    Recipe(
        name="engraved forms",
        hatch=1.0,
        wash=0.15,
        line=0.75,
        period=5.2,
        angle=8.0,
        cross=74.0,
        follow=2.6,
        contrast=1.05,
        blacks=0.09,
        dry=0.1,
    ),
    Recipe(
        name="spotted blacks",
        hatch=0.6,
        wash=0.1,
        line=1.5,
        period=10.5,
        angle=135.0,
        cross=90.0,
        follow=0.4,
        contrast=1.35,
        blacks=0.26,
        dry=0.1,
        light_from=1.0,
    ),
    Recipe(
        name="dry brush",
        hatch=0.5,
        wash=0.7,
        line=1.25,
        period=8.5,
        angle=75.0,
        cross=30.0,
        follow=1.0,
        contrast=1.12,
        blacks=0.16,
        dry=1.0,
    ),
    Recipe(
        name="crossed shadows",
        hatch=1.0,
        wash=0.3,
        line=1.1,
        period=6.2,
        angle=150.0,
        cross=88.0,
        follow=0.9,
        contrast=1.15,
        blacks=0.1,
        dry=0.15,
        light_from=1.0,
    ),
)


def recipe_of(seed: int, candidate_index: int) -> Recipe:
    """The recipe of a candidate: six in a row all differ, and the seed decides their order and details."""
    order = np.random.default_rng([seed, 0]).permutation(len(RECIPES))
    base = RECIPES[int(order[(candidate_index - 1) % len(RECIPES)])]
    rng = np.random.default_rng([seed, candidate_index])

    def near(value: float, share: float) -> float:
        return round(value * float(rng.uniform(1.0 - share, 1.0 + share)), 3)

    return msgspec.structs.replace(
        base,
        line=near(base.line, 0.1),
        period=near(base.period, 0.08),
        angle=round(base.angle + float(rng.uniform(-7.0, 7.0)), 1),
        contrast=near(base.contrast, 0.05),
        light_from=base.light_from * round(float(rng.uniform(0.7, 1.0)), 2),
    )


def described(recipe: Recipe) -> dict[str, Any]:
    """The recipe for a person to read, its name as ``variation``."""
    fields = msgspec.structs.asdict(recipe)
    return {"variation": fields.pop("name"), **fields}
