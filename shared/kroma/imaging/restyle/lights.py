"""The lights of a night and the kinds of rain: what tells one relit candidate from the next."""

from typing import Final, TypeVar

import msgspec
import numpy as np


class Light(msgspec.Struct, frozen=True, kw_only=True):
    """One light out of the picture. Places are shares of the picture, 0 to 1 inside of it."""

    name: str
    x: float
    y: float
    reach: float
    """Height of the light above the scene, in diagonals: how soon it falls off."""


class NightLight(Light, frozen=True, kw_only=True):
    """A light of the night."""

    key: float
    """How strongly it shines."""
    ambient: float
    """What the night itself gives."""
    rim: float
    """How much it catches on outlines that face it."""
    haze: float
    """How far the air around it shows."""


class DayLight(Light, frozen=True, kw_only=True):
    """Where the day's light comes from."""

    shade: float
    """Share that is taken from what it does not reach."""


class Rainfall(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of rain."""

    name: str
    density: float
    """Streaks, 1 a steady rain's."""
    length: float
    slant: float
    """Degrees from upright, before the candidate's own few."""
    haze: float
    """Share of the distance that grays."""
    wet: float
    """Share of the mirror on level ground."""


NIGHT_LIGHTS: Final = (
    NightLight(
        name="moon, high left", x=-0.1, y=-0.2, reach=0.75, key=1.0, ambient=0.20, rim=0.55, haze=0.20
    ),
    NightLight(
        name="street lamp, right", x=0.98, y=0.1, reach=0.36, key=1.3, ambient=0.10, rim=0.8, haze=0.34
    ),
    NightLight(
        name="low window, left", x=-0.04, y=0.7, reach=0.38, key=1.3, ambient=0.14, rim=0.6, haze=0.22
    ),
    NightLight(
        name="backlight, above", x=0.52, y=-0.1, reach=0.42, key=1.1, ambient=0.12, rim=1.0, haze=0.36
    ),
    NightLight(
        name="moon, high right", x=1.1, y=-0.15, reach=0.7, key=1.0, ambient=0.18, rim=0.55, haze=0.18
    ),
    NightLight(name="lone lamp, left", x=0.06, y=0.2, reach=0.27, key=1.5, ambient=0.06, rim=0.9, haze=0.36),
)
"""A ring, as the recipes: neighbors come from other sides."""

DAY_LIGHTS: Final = (
    DayLight(name="morning, left", x=-0.2, y=0.1, reach=0.55, shade=0.5),
    DayLight(name="open sky", x=0.5, y=-0.4, reach=1.3, shade=0.2),
    DayLight(name="afternoon, right", x=1.2, y=0.0, reach=0.55, shade=0.5),
    DayLight(name="window, left", x=0.0, y=0.45, reach=0.32, shade=0.6),
    DayLight(name="sun above", x=0.5, y=-0.1, reach=0.45, shade=0.55),
    DayLight(name="low sun, right", x=1.05, y=0.75, reach=0.4, shade=0.6),
)
"""A ring, as the night's."""

RAINFALLS: Final = (
    Rainfall(name="steady rain", density=1.0, length=1.0, slant=9.0, haze=0.5, wet=0.75),
    Rainfall(name="driven rain", density=1.15, length=1.35, slant=-22.0, haze=0.62, wet=0.7),
    Rainfall(name="downpour", density=1.7, length=1.15, slant=4.0, haze=0.75, wet=0.85),
    Rainfall(name="fine rain", density=1.25, length=0.7, slant=-7.0, haze=0.66, wet=0.65),
    Rainfall(name="squall", density=1.4, length=1.5, slant=29.0, haze=0.58, wet=0.7),
)

_Kind = TypeVar("_Kind", NightLight, DayLight, Rainfall)


def night_light_of(seed: int, candidate_index: int) -> NightLight:
    """The light of a candidate: six in a row all differ."""
    rng = np.random.default_rng([seed, candidate_index, 1])
    light = _nth(NIGHT_LIGHTS, seed, candidate_index)
    moved = {"x": light.x + float(rng.uniform(-0.05, 0.05)), "y": light.y + float(rng.uniform(-0.04, 0.04))}
    return msgspec.structs.replace(light, **{name: round(value, 3) for name, value in moved.items()})


def day_light_of(seed: int, candidate_index: int) -> DayLight:
    """The daylight of a candidate: six in a row all differ."""
    return _nth(DAY_LIGHTS, seed, candidate_index)


def rainfall_of(seed: int, candidate_index: int) -> Rainfall:
    """The rain of a candidate: five in a row all differ."""
    rng = np.random.default_rng([seed, candidate_index, 2])
    rain = _nth(RAINFALLS, seed, candidate_index)
    return msgspec.structs.replace(rain, slant=round(rain.slant + float(rng.uniform(-3.0, 3.0)), 1))


def _nth(ring: tuple[_Kind, ...], seed: int, candidate_index: int) -> _Kind:
    return ring[(seed + candidate_index - 1) % len(ring)]
