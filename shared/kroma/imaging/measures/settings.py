"""How candidates are checked: the manifest's ``quality`` (docs/quality.md)."""

from enum import StrEnum
from typing import Annotated, Final

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Weight = Annotated[float, msgspec.Meta(ge=0, le=1000)]


class Verdict(StrEnum):
    """What it means to fall below a check's threshold."""

    HARD = "hard"
    """The candidate is out."""
    SOFT = "soft"
    """It ranks behind candidates with fewer warnings."""
    OFF = "off"
    """The check is not made."""


class CheckSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One check."""

    threshold: Share
    """The least score that passes."""
    verdict: Verdict = Verdict.SOFT
    weight: Weight = 1.0
    """In the mean that is the quality score; 0 leaves it out."""


class QualitySettings(msgspec.Struct, frozen=True, kw_only=True):
    """All checks but the colour guard's own rules, which are the manifest's ``output_guard``.

    Nothing is hard unless a manifest says so: a wrong rejection costs a paid picture, while a warning
    only costs it its rank.
    """

    ignore_transparent: bool = False
    """Whether colour that cannot be seen, under full transparency, is left out of the chroma delta."""
    color_weight: Weight = 1.0
    blank: CheckSettings = CheckSettings(threshold=0.25)
    sharpness: CheckSettings = CheckSettings(threshold=0.75, weight=2.0)
    structure: CheckSettings = CheckSettings(threshold=0.6, weight=3.0)
    style: CheckSettings = CheckSettings(threshold=0.35, weight=2.0)
    size: CheckSettings = CheckSettings(threshold=0.8)
    duplicate: CheckSettings = CheckSettings(threshold=0.25, weight=0.0)
    drift: CheckSettings = CheckSettings(threshold=0.6, weight=2.0)
    identity: CheckSettings = CheckSettings(threshold=0.36, weight=3.0)


CHECKS: Final = ("blank", "sharpness", "structure", "style", "size", "duplicate", "drift", "identity")
"""Names of the fields of ``QualitySettings`` that are checks, in the order of a report."""
