"""What the engine is asked for and what it answers; light enough for every process to import."""

from typing import Any, Final

import msgspec

from kroma.errors import InvalidRequestError
from kroma.imaging.header import MAX_PIXELS

_DIGITS: Final = 8
"""Of one side; more would be over the limit with the other side at 1."""


class InvalidSizeError(InvalidRequestError):
    """The wanted size makes no picture."""

    code = "invalid_size"

    def __init__(self, size: str) -> None:
        super().__init__(
            f"Size '{size}' must be <width>x<height> in pixels, like 768x1152, of at most 64 megapixels"
        )


def size_px(text: str) -> tuple[int, int]:
    """Width and height of ``<width>x<height>``.

    Raises:
        InvalidSizeError: The text is no size, or over 64 megapixels.
    """
    width, _, height = text.lower().partition("x")
    if not all(side.isascii() and side.isdigit() and len(side) <= _DIGITS for side in (width, height)):
        raise InvalidSizeError(text)
    if not 0 < int(width) * int(height) <= MAX_PIXELS:
        raise InvalidSizeError(text)
    return int(width), int(height)


class RedrawSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate to draw. The same order gives the same bytes."""

    scene_name: str
    scene: bytes
    styles: tuple[tuple[str, bytes], ...]
    """Name and bytes of each reference; empty draws in a plain noir ink."""
    references: tuple[tuple[str, bytes], ...] = ()
    """Of characters: they lend a little of their color where the style has color at all."""
    stage: str
    """``style`` ignores time and weather, ``time`` ignores the weather, as the prompts do."""
    time_of_day: str
    weather: str
    candidate_index: int
    """From 1."""
    seed: int
    opaque: bool = False
    """Whether what is transparent becomes paper."""
    size: str | None = None
    """``<width>x<height>``, filled by the scene and cropped around its center; None keeps the scene's."""

    @property
    def is_relit(self) -> bool:
        """Whether a scene that is a drawing already keeps its strokes: the style stage drew it."""
        return self.stage in {"time", "weather", "character"}

    @property
    def at_night(self) -> bool:
        return self.stage in {"time", "weather"} and self.time_of_day == "night"

    @property
    def by_day(self) -> bool:
        """Whether daylight was asked for, not merely left as it is."""
        return self.stage in {"time", "weather"} and self.time_of_day == "day"

    @property
    def in_rain(self) -> bool:
        return self.stage == "weather" and self.weather == "rain"

    @property
    def size_px(self) -> tuple[int, int] | None:
        """Width and height, or None.

        Raises:
            InvalidSizeError: The text is no size, or over 64 megapixels.
        """
        return None if self.size is None else size_px(self.size)


class RedrawnPicture(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate, drawn."""

    png: bytes
    width: int
    height: int
    parameters: dict[str, Any]
    """The variation by name: asking with the same inputs, seed and index draws it again."""
