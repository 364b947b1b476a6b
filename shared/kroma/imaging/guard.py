"""The colour guard: does a picture that should be grey carry colour?"""

import msgspec


class GuardSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest's ``output_guard`` (pipeline.md 3)."""

    enforce_grayscale: bool = False
    max_chroma_delta: float = 2.0
    """Inclusive threshold on a scale of 0 to 170."""
    fail_on_chroma_exceed: bool = False
