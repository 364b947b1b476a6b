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
    light_from: float
    """Side the night's light comes from: -1 left, 1 right."""


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
        light_from=-1.0,
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
        light_from=1.0,
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
        light_from=1.0,
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
        light_from=-1.0,
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
        light_from=-1.0,
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
        light_from=1.0,
    ),
)
"""A ring: neighbours differ most, since two candidates are the usual order."""


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
        light_from=base.light_from * round(float(rng.uniform(0.7, 1.0)), 2),
    )


def described(recipe: Recipe) -> dict[str, Any]:
    """The recipe for a person to read, its name as ``variation``."""
    fields = msgspec.structs.asdict(recipe)
    return {"variation": fields.pop("name"), **fields}
