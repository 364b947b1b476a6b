"""The postprocess config (pipeline.md 7.2) and the record that is planned from it (7.1)."""

from collections.abc import Callable
from decimal import Decimal
from typing import Final, Literal, TypeVar

import msgspec

from kroma.pipeline.planning.config_files import ConfigFiles, ConfigObject
from kroma.pipeline.planning.errors import ConfigFileError, PlanningPreflightError
from kroma.pipeline.planning.settings_layers import (
    BG_REMOVE_BACKENDS,
    UPSCALE_BACKENDS,
    SettingsLayer,
    overlaid,
)
from kroma.postprocess.installed import PAID_CUTOUTS
from kroma.postprocess.specs import (
    BUILTIN,
    BUILTIN_PROFILES,
    DEFAULT_NCNN_MODEL,
    DEFAULT_QUALITY,
    DEFAULT_REMBG_MODEL,
    ColorProfile,
    ColorSpec,
    CutoutSpec,
    Format,
    PlannedTools,
    RefineSpec,
    UpscaleSpec,
)
from kroma.runlog.schema import PostprocessLog

T = TypeVar("T")

_FORMATS: Final = ("png", "jpg", "jpeg", "webp")
_MAX_SCALE: Final = 255
_MAX_PRICE_USD: Final = 1000
DEFAULT_REFINE_PROMPT: Final = (
    "Clean this cut-out for print. Keep the subject exactly as it is: identity, pose, clothing, proportions,"
    " colors and framing. Only tidy its outline: remove fringes and jagged steps, and bring back hair and"
    " translucent detail. Keep the background transparent. Add nothing, remove nothing, retouch nothing."
)


class PostprocessConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a postprocess config sets; the defaults are those of pipeline.md 7.2."""

    scope: Literal["winner", "all"] = "winner"
    """``candidates`` in the file: which candidates are post-processed."""
    upscale_backend: str = "python"
    upscale_scale: int = 2
    upscale_format: Format = "png"
    upscale_quality: int = DEFAULT_QUALITY
    upscale_model: str = DEFAULT_NCNN_MODEL
    upscale_tile: int = 0
    color_profile: str = "neutral"
    color_settings_file: str | None = None
    bg_remove_backends: tuple[str, ...] = ("rembg",)
    bg_remove_format: Format = "png"
    bg_remove_quality: int = DEFAULT_QUALITY
    bg_remove_size: str = "auto"
    bg_remove_crop: bool = False
    rembg_model: str = DEFAULT_REMBG_MODEL
    prices_usd: dict[str, str] = {}
    bg_refine_openai: bool = True
    bg_refine_openai_required: bool = True
    refine_prompt: str = DEFAULT_REFINE_PROMPT
    refine_model: str | None = None
    refine_quality: str | None = None


class PostprocessSwitches(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run's post-processing; an absent value takes the settings files', false turns a step off."""

    upscale: bool | None = None
    upscale_backend: str | None = None
    color: bool | None = None
    color_profile: str | None = None
    bg_remove: bool | None = None
    bg_remove_backends: tuple[str, ...] | None = None
    bg_refine_openai: bool | None = None
    bg_refine_openai_required: bool | None = None


async def load_postprocess_config(files: ConfigFiles, path: str | None) -> PostprocessConfig:
    """The config at a path relative to the data directory; the defaults if the path is None.

    Raises:
        ConfigFileError: The file is missing or not a JSON object, or a field has a wrong type.
    """
    if path is None:
        return PostprocessConfig()
    root = ConfigObject.of_json(await files.at_data_dir(path))
    upscale, color, bg_remove = root.section("upscale"), root.section("color"), root.section("bg_remove")
    refine = bg_remove.section("openai")
    values: dict[str, object] = {
        "scope": root.choice("candidates", ("winner", "all")),
        "upscale_backend": upscale.choice("backend", UPSCALE_BACKENDS),
        "upscale_scale": upscale.whole("scale", maximum=_MAX_SCALE),
        "upscale_format": _format(upscale),
        "upscale_quality": upscale.whole("quality", maximum=100),
        "upscale_model": _lenient(lambda: upscale.text("model_name")),
        "upscale_tile": _lenient(lambda: _tile(upscale)),
        "color_profile": color.text("default_profile"),
        "color_settings_file": color.text("settings_file"),
        "bg_remove_backends": _backends(bg_remove),
        "bg_remove_format": _format(bg_remove),
        "bg_remove_quality": bg_remove.whole("quality", maximum=100),
        "bg_remove_size": _lenient(lambda: bg_remove.text("size", may_be_blank=True)),
        "bg_remove_crop": _lenient(lambda: bg_remove.flag("crop")),
        "rembg_model": _lenient(lambda: bg_remove.section("rembg").text("model")),
        "prices_usd": _prices(bg_remove),
        "bg_refine_openai": refine.flag("enabled"),
        "bg_refine_openai_required": refine.flag("required"),
        "refine_prompt": _lenient(lambda: refine.text("prompt")),
        "refine_model": _lenient(lambda: refine.text("model")),
        "refine_quality": _lenient(lambda: refine.text("quality")),
    }
    return overlaid(PostprocessConfig(), values)


async def plan_tools(
    files: ConfigFiles, record: PostprocessLog, config: PostprocessConfig
) -> tuple[PlannedTools | None, tuple[str, ...]]:
    """The tools' settings, None if every step is off; and the problems known so far, one sentence each.

    Raises:
        ConfigFileError: The file of color profiles is missing or invalid.
    """
    if not (record.bg_remove or record.upscale or record.color):
        return None, ()
    problems: list[str] = []
    tools = PlannedTools(
        scope=config.scope,
        cutout=_cutout(record, config) if record.bg_remove else None,
        refine=_refine(record, config) if record.bg_refine_openai else None,
        upscale=_upscale(record, config) if record.upscale else None,
        color=await _color(files, record, config, problems) if record.color else None,
    )
    return tools, tuple(problems)


def _cutout(record: PostprocessLog, config: PostprocessConfig) -> CutoutSpec:
    return CutoutSpec(
        backends=tuple(record.bg_remove_backends),
        format=config.bg_remove_format,
        quality=config.bg_remove_quality,
        size=config.bg_remove_size,
        crop=config.bg_remove_crop,
        rembg_model=config.rembg_model,
        prices_usd=config.prices_usd,
    )


def _refine(record: PostprocessLog, config: PostprocessConfig) -> RefineSpec:
    return RefineSpec(
        prompt=config.refine_prompt,
        model=config.refine_model or "",
        quality=config.refine_quality,
        is_required=record.bg_refine_openai_required,
    )


def _upscale(record: PostprocessLog, config: PostprocessConfig) -> UpscaleSpec:
    return UpscaleSpec(
        backend=record.upscale_backend or config.upscale_backend,
        scale=config.upscale_scale,
        format=config.upscale_format,
        quality=config.upscale_quality,
        model=config.upscale_model,
        tile=config.upscale_tile,
    )


async def _color(
    files: ConfigFiles, record: PostprocessLog, config: PostprocessConfig, problems: list[str]
) -> ColorSpec | None:
    name, path = record.color_profile or config.color_profile, config.color_settings_file
    profiles = BUILTIN_PROFILES if path is None else await load_profiles(files, path)
    source = BUILTIN if path is None else path
    values = profiles.get(name)
    if values is None:
        known = f"choose from: {', '.join(profiles)}" if profiles else "the file defines none"
        problems.append(f"Unknown color profile '{name}' in {source}; {known}")
        return None
    return ColorSpec(profile=name, values=values, settings=source)


async def load_profiles(files: ConfigFiles, path: str) -> dict[str, ColorProfile]:
    """The color profiles of a file (pipeline.md 7.3); they replace the built-in ones.

    Raises:
        ConfigFileError: The file is missing or not a JSON object, or a value is invalid in a profile.
    """
    root = ConfigObject.of_json(await files.at_data_dir(path))
    if not root.has("profiles"):
        raise root.wrong("profiles", "an object of color profiles")
    listed = root.section("profiles")
    return {name: _profile(listed, name) for name in listed.fields()}


def _profile(listed: ConfigObject, name: str) -> ColorProfile:
    section = listed.section(name)
    fields = [field for field in ColorProfile.__struct_fields__ if section.has(field)]
    values: dict[str, object] = {field: section.any(field) for field in fields}
    try:
        return msgspec.convert(values, ColorProfile)
    except msgspec.ValidationError as exc:
        problem, _, location = str(exc).partition(" - at `$.")
        field = location.rstrip("`") or fields[0]
        raise section.wrong(field, f"valid in a color profile: {problem}") from exc


def planned_postprocess(
    layer: SettingsLayer, config: PostprocessConfig, switches: PostprocessSwitches | None = None
) -> PostprocessLog:
    """The record of what is on: the run's switches override the settings, which override the config.

    Raises:
        PlanningPreflightError: A backend is unknown, or the list of backends is empty.
    """
    if switches is not None:
        layer = overlaid(layer, msgspec.structs.asdict(switches))
    record = PostprocessLog(upscale=layer.upscale or False, color=layer.color or False)
    if layer.bg_remove:
        _plan_bg_remove(record, layer, config)
    if record.upscale:
        name = layer.upscale_backend or config.upscale_backend
        record.upscale_backend = _known("upscale", "upscale_backend", name, UPSCALE_BACKENDS)
        record.pipeline_order.append("upscale")
    if record.color:
        record.color_profile = layer.color_profile or config.color_profile
        record.pipeline_order.append("color")
    return record


def _plan_bg_remove(record: PostprocessLog, layer: SettingsLayer, config: PostprocessConfig) -> None:
    backends = config.bg_remove_backends if layer.bg_remove_backends is None else layer.bg_remove_backends
    record.bg_remove = True
    record.bg_remove_backends = [
        _known("background", "bg_remove_backends", name, BG_REMOVE_BACKENDS) for name in backends
    ]
    if not backends:
        raise PlanningPreflightError(
            "Setting 'postprocess.bg_remove_backends' is empty;"
            f" name at least one of: {', '.join(BG_REMOVE_BACKENDS)}"
        )
    record.pipeline_order.append("bg_remove")
    refine = config.bg_refine_openai if layer.bg_refine_openai is None else layer.bg_refine_openai
    if refine:
        required = layer.bg_refine_openai_required
        record.bg_refine_openai = True
        record.bg_refine_openai_required = config.bg_refine_openai_required if required is None else required
        record.pipeline_order.append("bg_refine_openai")


def _known(kind: str, setting: str, name: str, allowed: tuple[str, ...]) -> str:
    if name.lower() not in allowed:
        raise PlanningPreflightError(
            f"Unknown {kind} backend '{name}' in 'postprocess.{setting}'; choose from: {', '.join(allowed)}"
        )
    return name.lower()


def _backends(section: ConfigObject) -> tuple[str, ...] | None:
    names = section.texts("backends")
    if names is None:
        return None
    if not names or any(name.lower() not in BG_REMOVE_BACKENDS for name in names):
        raise section.wrong("backends", f"an array of one or more of: {', '.join(BG_REMOVE_BACKENDS)}")
    return tuple(name.lower() for name in names)


def _format(section: ConfigObject) -> Format | None:
    match section.choice("format", _FORMATS):
        case None | "webp" | "png" as name:
            return name
        case _:
            return "jpg"


def _lenient(read: Callable[[], T]) -> T | None:
    """None for an invalid value: fields that only a tool reads are not refused (pipeline.md 7.2)."""
    try:
        return read()
    except ConfigFileError:
        return None


def _tile(section: ConfigObject) -> int | None:
    value = section.number("tile")
    return int(value) if value is not None and value.is_integer() else None


def _prices(section: ConfigObject) -> dict[str, str] | None:
    """The price of a call by the service's code, as decimal text in USD; a missing price is unknown."""
    prices: dict[str, str] = {}
    for code in PAID_CUTOUTS:
        service = section.section(code)
        price = service.number("price_usd")
        if price is None:
            continue
        if price > _MAX_PRICE_USD:
            raise service.wrong("price_usd", f"at most {_MAX_PRICE_USD}")
        prices[code] = str(Decimal(str(price)).quantize(Decimal("0.000001")))
    return prices or None
