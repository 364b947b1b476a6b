"""Specs and results of the tools; imports no picture library."""

from typing import Annotated, Any, Final, Literal

import msgspec

Factor = Annotated[float, msgspec.Meta(ge=0, le=10)]
DEFAULT_QUALITY: Final = 95
MAX_CUBE_BYTES: Final = 64 * 1024 * 1024
DEFAULT_PROFILE: Final = "neutral"
DEFAULT_SCALE: Final = 2
DEFAULT_NCNN_MODEL: Final = "realesrgan-x4plus"
DEFAULT_REMBG_MODEL: Final = "birefnet-general"
BUILTIN: Final = "builtin"
"""The settings of a color result if no file was read."""

Format = Literal["png", "jpg", "webp"]
Quality = Annotated[int, msgspec.Meta(ge=1, le=100)]


class ColorProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One color grade (pipeline.md 7.3); the defaults change nothing."""

    brightness: Factor = 1.0
    contrast: Factor = 1.0
    """About level 128."""
    saturation: Factor = 1.0
    sharpness: Factor = 1.0
    """Above 1 an unsharp mask of sigma 1.0; below 1 softens."""
    gamma: Annotated[float, msgspec.Meta(gt=0, le=10)] = 1.0
    autocontrast_cutoff: Annotated[float, msgspec.Meta(ge=0, lt=50)] = 0.0
    """Percent to cut off at both ends when stretching each channel; 0 does not stretch."""
    red_multiplier: Factor = 1.0
    green_multiplier: Factor = 1.0
    blue_multiplier: Factor = 1.0
    temperature: Annotated[float, msgspec.Meta(ge=-100, le=100)] = 0.0
    """Shift of the white point in mired: above 0 warmer, below 0 cooler; grays keep their luminance."""
    lut: str | None = None
    """A ``.cube`` file in the project."""

    @property
    def gains(self) -> tuple[float, float, float]:
        """The multipliers of red, green and blue."""
        return self.red_multiplier, self.green_multiplier, self.blue_multiplier


BUILTIN_PROFILES: Final = {
    "neutral": ColorProfile(contrast=1.02),
    "cinematic_warm": ColorProfile(
        brightness=0.98,
        contrast=1.12,
        saturation=1.08,
        sharpness=1.04,
        gamma=1.03,
        red_multiplier=1.04,
        blue_multiplier=0.96,
    ),
    "cold_rain": ColorProfile(
        brightness=0.97,
        contrast=1.10,
        saturation=0.95,
        sharpness=1.03,
        gamma=1.01,
        red_multiplier=0.97,
        blue_multiplier=1.05,
    ),
}


class LutFile(msgspec.Struct, frozen=True, kw_only=True):
    """A ``.cube`` file as it was when the run was planned."""

    key: str
    """In the project's store."""
    sha256: str


class ColorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Color grading; the result is always a PNG."""

    profile: str = DEFAULT_PROFILE
    """The profile's name."""
    values: ColorProfile = BUILTIN_PROFILES[DEFAULT_PROFILE]
    settings: str = BUILTIN
    """The file that has the profile."""
    lut: LutFile | None = None


class UpscaleSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Upscaling."""

    backend: str = "lanczos"
    scale: Annotated[int, msgspec.Meta(ge=1, le=255)] = DEFAULT_SCALE
    format: Format = "png"
    quality: Quality = DEFAULT_QUALITY
    """For JPEG and WebP."""
    model: str = DEFAULT_NCNN_MODEL
    """For ``realesrgan-ncnn``."""
    tile: Annotated[int, msgspec.Meta(ge=0)] = 0
    """For ``realesrgan-ncnn``; 0 is automatic."""


class CutoutSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Background removal."""

    backends: tuple[str, ...] = ("local",)
    """Tried in this order until one succeeds."""
    format: Format = "png"
    """JPEG is flattened on white."""
    quality: Quality = DEFAULT_QUALITY
    size: str = "auto"
    """For services."""
    crop: bool = False
    """For services: whether to crop to the subject."""
    rembg_model: str = DEFAULT_REMBG_MODEL
    prices_usd: dict[str, str] = {}
    """Price per call as decimal text, by service; a missing price is unknown."""


class RefineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Cleaning a cutout by a provider."""

    prompt: str
    provider: str = "openai"
    model: str = ""
    """Empty takes the provider's default."""
    quality: str | None = None
    size: str | None = None
    is_required: bool = True
    """Whether a failure fails the job; otherwise the unrefined cutout is used."""


class PlannedTools(msgspec.Struct, frozen=True, kw_only=True):
    """A run's post-processing, in order; None is off."""

    scope: Literal["winner", "all"] = "winner"
    """Whether only the winner or every candidate that passed is processed."""
    cutout: CutoutSpec | None = None
    refine: RefineSpec | None = None
    upscale: UpscaleSpec | None = None
    color: ColorSpec | None = None


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A tool's result."""

    data: bytes
    mime_type: str
    width: int
    height: int
    details: dict[str, Any] = {}
    """The tool's own data, for the record."""


class Size(msgspec.Struct, frozen=True):
    """Width and height in pixels."""

    width: int
    height: int


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a chain of tools should do to a picture."""

    scale: int = 1
    is_cut_out: bool = False
    is_graded: bool = False
    is_cropped: bool = False
    """Whether it is cropped to the subject, so that size and positions cannot be compared."""
    keeps_alpha: bool = True
    """Whether every format of the chain supports transparency."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A result compared with its source."""

    is_good: bool
    reason: str
    """One sentence."""
    width: int = 0
    height: int = 0
    structure: float | None = None
    drift: float | None = None
    shown: float | None = None
    """Share of the result that is not transparent; None if it has no alpha."""
