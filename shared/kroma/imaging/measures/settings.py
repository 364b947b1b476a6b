"""Settings of the checks: the manifest's ``quality`` (docs/quality.md)."""

from enum import StrEnum
from typing import Annotated, Final

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Weight = Annotated[float, msgspec.Meta(ge=0, le=1000)]


class Verdict(StrEnum):
    """The effect of a score below a check's threshold."""

    HARD = "hard"
    """The candidate is rejected."""
    SOFT = "soft"
    """The candidate ranks behind those with fewer warnings."""
    OFF = "off"
    """The check is not made."""


class CheckSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one check."""

    threshold: Share
    """The lowest score that passes."""
    verdict: Verdict = Verdict.SOFT
    weight: Weight = 1.0
    """Weight in the quality score; 0 leaves it out."""


class QualitySettings(msgspec.Struct, frozen=True, kw_only=True):
    """All checks except the color guard, whose settings are the manifest's ``output_guard``.

    Nothing is hard by default: a wrong rejection wastes a paid picture, a wrong warning only lowers its rank.
    """

    ignore_transparent: bool = False
    """Whether the chroma delta leaves out fully transparent pixels."""
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
"""Fields of ``QualitySettings`` that are checks, in the order of a report."""
