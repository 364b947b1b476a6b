"""Each tool's options: the HTTP form fields, and with dashes the command line's options."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from kroma.imaging.measures.settings import CHECKS
from kroma.postprocess.specs import BUILTIN_PROFILES, Format
from kroma.runs.models import Stage, TimeOfDay, Weather
from kroma.tools.errors import WrongOptionError

Options = TypeVar("Options", bound=msgspec.Struct)

STAGES: Final = (Stage.STYLE, Stage.TIME, Stage.WEATHER)


class GenerateOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of ``generate``."""

    provider: str | None = None
    """None takes ``KROMA_PROVIDER``, else `local`."""
    prompt: str | None = None
    """None takes the style stage's built-in prompt."""
    model: str | None = None
    size: str | None = None
    """`<width>x<height>` in pixels; None keeps the scene's."""
    quality: str | None = None
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    candidates: Annotated[int, Meta(ge=1, le=6)] = 1
    stage: str = Stage.STYLE
    """`style`, `time` or `weather`."""
    time: str = TimeOfDay.DAY
    """`day` or `night`."""
    weather: str = Weather.CLEAR
    """`clear` or `rain`."""
    confirm_spend: bool = False
    """Must be true if calls cost money."""


class UpscaleOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of ``upscale``."""

    backend: str = "lanczos"
    """`lanczos`, or `realesrgan-ncnn`, which the operator installs."""
    scale: Annotated[int, Meta(ge=1, le=8)] = 2
    format: Format = "png"
    output_quality: Annotated[int, Meta(ge=1, le=100)] = 95
    """The quality of JPEG and WebP files."""


class ColorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of ``color``."""

    profile: str = "neutral"
    """`neutral`, `cinematic_warm` or `cold_rain`."""
    temperature: Annotated[float, Meta(ge=-100, le=100)] | None = None
    """Shift of the white point in mired: above 0 warmer, below 0 cooler; None keeps the profile's."""


class BgremoveOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of ``bgremove``."""

    backends: tuple[str, ...] = ("local",)
    """Tried in this order: `local`, `rembg`, and the services `photoroom` and `removebg`."""
    format: Format = "png"
    output_quality: Annotated[int, Meta(ge=1, le=100)] = 95
    """The quality of JPEG and WebP files."""
    confirm_spend: bool = False
    """Must be true if a service costs money."""


class QaOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of ``qa``."""

    max_chroma_delta: Annotated[float, Meta(ge=0, le=255)] = 2.0
    """The limit of the color check, on a scale of 0 to 170."""
    enforce_grayscale: bool = False
    """Whether exceeding it is the hard failure `not_grayscale_like`."""
    fail_on_chroma_exceed: bool = False
    """Whether exceeding it is the hard failure `chroma_exceeds_threshold` instead of a warning."""
    hard: tuple[str, ...] = ()
    """Checks that fail a picture instead of only warning."""
    min_score: Annotated[float, Meta(ge=0, le=1)] | None = None
    """Fail pictures with a lower quality score."""


OPTIONS: Final[Mapping[str, type[msgspec.Struct]]] = {
    "generate": GenerateOptions,
    "upscale": UpscaleOptions,
    "color": ColorOptions,
    "bgremove": BgremoveOptions,
    "qa": QaOptions,
}


def checked(shape: type[Options], given: dict[str, Any]) -> Options:
    """The options, converted from texts or values.

    Raises:
        WrongOptionError: An option is unknown or has an invalid value.
    """
    names = {field.name for field in msgspec.structs.fields(shape)}
    unknown = sorted(set(given) - names)
    if unknown:
        raise WrongOptionError(f"Unknown field '{unknown[0]}'; use any of: {', '.join(sorted(names))}")
    try:
        return _checked(msgspec.convert(given, shape, strict=False))
    except msgspec.ValidationError as exc:
        problem, _, position = str(exc).partition(" - at `$.")
        field = position.rstrip("`")
        raise WrongOptionError(f"Field '{field}': {problem}" if field else problem) from exc


def _checked(options: Options) -> Options:
    match options:
        case ColorOptions(profile=profile):
            _one_of("profile", profile, tuple(BUILTIN_PROFILES))
        case QaOptions(hard=hard):
            for name in hard:
                _one_of("hard", name, CHECKS)
        case GenerateOptions(stage=stage, time=time, weather=weather):
            _one_of("stage", stage, STAGES)
            _one_of("time", time, tuple(TimeOfDay))
            _one_of("weather", weather, tuple(Weather))
        case _:
            pass
    return options


def _one_of(field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise WrongOptionError(f"Field '{field}' must be one of: {', '.join(allowed)}")
