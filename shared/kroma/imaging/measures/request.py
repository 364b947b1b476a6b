"""Requests to check pictures; imports no picture library."""

from typing import TypeAlias

import msgspec

from kroma.config import FaceModel
from kroma.imaging.color_check import GuardReport, GuardSettings
from kroma.imaging.measures.report import QualityReport
from kroma.imaging.measures.settings import QualitySettings

NamedPicture: TypeAlias = tuple[str, bytes]
"""A picture's name, for messages, and its file."""


class FactsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs of a job."""

    settings: QualitySettings
    scene: NamedPicture | None
    styles: tuple[NamedPicture, ...] = ()
    baseline: NamedPicture | None = None
    references: tuple[NamedPicture, ...] = ()
    """Character references."""
    face_model: FaceModel | None = None


class CheckRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate to check."""

    name: str
    data: bytes
    guard: GuardSettings
    settings: QualitySettings
    stage: str = "style"
    time_of_day: str = "day"
    weather: str = "clear"
    size: str | None = None
    """The requested size; None or a word like ``auto`` means the scene's proportions."""
    with_references: bool = False
    """Whether the job has character references."""
    face_model: FaceModel | None = None

    @property
    def is_relit(self) -> bool:
        """Whether light or weather were changed on purpose."""
        return self.stage in {"time", "weather"}

    @property
    def hides(self) -> bool:
        """Whether night or rain may hide a part of the scene."""
        at_night = self.is_relit and self.time_of_day == "night"
        return at_night or (self.stage == "weather" and self.weather == "rain")


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """The results for one candidate."""

    guard: GuardReport
    report: QualityReport
    thumbnail: bytes = b""
    """Empty if the picture could not be read."""
