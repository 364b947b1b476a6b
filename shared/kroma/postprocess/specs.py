"""What a tool is asked to do and what it answers; importing this loads no picture library."""

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
"""What a colour result names as its settings when no file was read."""

Format = Literal["png", "jpg", "webp"]
Quality = Annotated[int, msgspec.Meta(ge=1, le=100)]


class ColorProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One grade (pipeline.md 7.3); every default changes nothing."""

    brightness: Factor = 1.0
    contrast: Factor = 1.0
    """About level 128."""
    saturation: Factor = 1.0
    sharpness: Factor = 1.0
    """Above 1 an unsharp mask of sigma 1.0; below 1 the same, towards soft."""
    gamma: Annotated[float, msgspec.Meta(gt=0, le=10)] = 1.0
    autocontrast_cutoff: Annotated[float, msgspec.Meta(ge=0, lt=50)] = 0.0
    """Above 0 each channel is stretched to the whole range; so many percent are cut off at both ends."""
    red_multiplier: Factor = 1.0
    green_multiplier: Factor = 1.0
    blue_multiplier: Factor = 1.0
    temperature: Annotated[float, msgspec.Meta(ge=-100, le=100)] = 0.0
    """Mired that the white point moves: above 0 warmer, below 0 cooler; grays keep their luminance."""
    lut: str | None = None
    """A ``.cube`` file inside the project."""

    @property
    def gains(self) -> tuple[float, float, float]:
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
    """A grade to apply; the result is always a PNG."""

    profile: str = DEFAULT_PROFILE
    """The profile's name."""
    values: ColorProfile = BUILTIN_PROFILES[DEFAULT_PROFILE]
    settings: str = BUILTIN
    """The file that the profile is from."""
    lut: LutFile | None = None


class UpscaleSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A picture to enlarge."""

    backend: str = "lanczos"
    scale: Annotated[int, msgspec.Meta(ge=1, le=255)] = DEFAULT_SCALE
    format: Format = "png"
    quality: Quality = DEFAULT_QUALITY
    """Of JPEG and WebP."""
    model: str = DEFAULT_NCNN_MODEL
    """Of ``realesrgan-ncnn``."""
    tile: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Of ``realesrgan-ncnn``: 0 is automatic."""


class CutoutSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A background to remove."""

    backends: tuple[str, ...] = ("local",)
    """Tried in this order; the first that succeeds wins."""
    format: Format = "png"
    """JPEG is flattened on white."""
    quality: Quality = DEFAULT_QUALITY
    size: str = "auto"
    """Of the services."""
    crop: bool = False
    """Of the services: cut to the subject."""
    rembg_model: str = DEFAULT_REMBG_MODEL
    prices_usd: dict[str, str] = {}
    """What a service's call costs, decimal text by code; of one that is missing, nobody knows."""


class RefineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A cut-out to be cleaned by a provider."""

    prompt: str
    provider: str = "openai"
    model: str = ""
    """Empty takes the provider's default."""
    quality: str | None = None
    size: str | None = None
    is_required: bool = True
    """Whether the job fails with it; else the unrefined cut-out goes on, with the reason."""


class PlannedTools(msgspec.Struct, frozen=True, kw_only=True):
    """The post-processing of a run, in the order it is done; None is off."""

    scope: Literal["winner", "all"] = "winner"
    """Of whom: the winner alone, or every candidate that passed."""
    cutout: CutoutSpec | None = None
    refine: RefineSpec | None = None
    upscale: UpscaleSpec | None = None
    color: ColorSpec | None = None


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A picture that a tool made."""

    data: bytes
    mime_type: str
    width: int
    height: int
    details: dict[str, Any] = {}
    """What the tool says of it, for the record."""


class Size(msgspec.Struct, frozen=True):
    """Width and height in pixels."""

    width: int
    height: int


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a chain of tools should have done."""

    scale: int = 1
    is_cut_out: bool = False
    is_graded: bool = False
    is_cropped: bool = False
    """Cut to the subject: then neither size nor place can be compared."""
    keeps_alpha: bool = True
    """Whether every format of the chain holds transparency."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A result beside its source."""

    is_good: bool
    reason: str
    """One sentence."""
    width: int = 0
    height: int = 0
    structure: float | None = None
    drift: float | None = None
    shown: float | None = None
    """Share of the result that is not transparent; None where it has no alpha."""
