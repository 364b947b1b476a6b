"""The color guard, which checks a picture that should be gray for color; imports no picture library."""

from typing import Final

import msgspec

NOT_GRAYSCALE_LIKE: Final = "not_grayscale_like"
CHROMA_EXCEEDS: Final = "chroma_exceeds_threshold"
READ_FAILED: Final = "image_read_failed"


class GuardSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest's ``output_guard`` (pipeline.md 3)."""

    enforce_grayscale: bool = False
    max_chroma_delta: float = 2.0
    """Inclusive threshold on a scale of 0 to 170."""
    fail_on_chroma_exceed: bool = False


class GuardReport(msgspec.Struct, frozen=True, kw_only=True):
    """The guard's report on one file (pipeline.md 6.2) and its rank components (6.3)."""

    file: str
    chroma_delta: float | None = None
    """Rounded to 4 decimals; None if the picture could not be read."""
    grayscale_like: bool | None = None
    hard_fail_reasons: tuple[str, ...] = ()
    soft_warnings: tuple[str, ...] = ()
    error: str | None = None
    avg_chroma_exceed: float = 0.0
    """The unrounded delta's excess over the threshold, rounded to 4 decimals."""

    @property
    def hard_failures(self) -> int:
        """1 if the file has any hard reason: counters count files."""
        return int(bool(self.hard_fail_reasons))

    @property
    def soft_failures(self) -> int:
        """1 if the file has any soft warning."""
        return int(bool(self.soft_warnings))


def judge(delta: float, settings: GuardSettings, *, name: str) -> GuardReport:
    """The report on a picture with this unrounded chroma delta."""
    threshold = max(0.0, settings.max_chroma_delta)
    grayscale_like = delta <= threshold
    hard: list[str] = []
    soft: list[str] = []
    if not grayscale_like:
        if settings.enforce_grayscale:
            hard.append(NOT_GRAYSCALE_LIKE)
        (hard if settings.fail_on_chroma_exceed else soft).append(CHROMA_EXCEEDS)
    return GuardReport(
        file=name,
        chroma_delta=round(delta, 4),
        grayscale_like=grayscale_like,
        hard_fail_reasons=tuple(hard),
        soft_warnings=tuple(soft),
        avg_chroma_exceed=round(max(0.0, delta - threshold), 4),
    )
