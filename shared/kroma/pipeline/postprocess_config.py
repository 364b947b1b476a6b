"""The postprocess config as the planner reads it (pipeline.md 7.2), and the record it plans (7.1)."""

from typing import Final

import msgspec

from kroma.pipeline.config_files import ConfigFiles, ConfigObject
from kroma.pipeline.errors import PlanningPreflightError
from kroma.pipeline.settings import BG_REMOVE_BACKENDS, UPSCALE_BACKENDS, SettingsLayer
from kroma.runlog.schema import PostprocessLog

_FORMATS: Final = ("png", "jpg", "jpeg", "webp")
_MAX_SCALE: Final = 255


class PostprocessConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a postprocess config says to the planner; the tools read their own part of it later."""

    upscale_backend: str = "python"
    upscale_scale: int = 2
    upscale_format: str = "png"
    color_profile: str = "neutral"
    bg_remove_backends: tuple[str, ...] = ("rembg",)
    bg_remove_format: str = "png"
    bg_refine_openai: bool = True
    bg_refine_openai_required: bool = True


class PostprocessSwitches(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one run's order says about its post-processing; None leaves it to the settings.

    False turns off what a settings file turns on.
    """

    upscale: bool | None = None
    upscale_backend: str | None = None
    color: bool | None = None
    color_profile: str | None = None
    bg_remove: bool | None = None
    bg_remove_backends: tuple[str, ...] | None = None
    bg_refine_openai: bool | None = None
    bg_refine_openai_required: bool | None = None

    def over(self, layer: SettingsLayer) -> SettingsLayer:
        """The settings with what these switches say in place of theirs."""
        said = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        return msgspec.structs.replace(layer, **said)


async def load_postprocess_config(files: ConfigFiles, path: str | None) -> PostprocessConfig:
    """The config at a path relative to the data directory; without one, the defaults.

    Raises:
        ConfigFileError: The file is missing or no JSON object, or a field has a wrong type.
    """
    if path is None:
        return PostprocessConfig()
    root = ConfigObject.of_json(await files.at_data_dir(path))
    upscale, color, bg_remove = root.section("upscale"), root.section("color"), root.section("bg_remove")
    refine = bg_remove.section("openai")
    required = refine.flag("required")
    enabled = refine.flag("enabled")
    defaults = PostprocessConfig()
    return PostprocessConfig(
        upscale_backend=upscale.choice("backend", UPSCALE_BACKENDS) or defaults.upscale_backend,
        upscale_scale=upscale.whole("scale", maximum=_MAX_SCALE) or defaults.upscale_scale,
        upscale_format=_format(upscale) or defaults.upscale_format,
        color_profile=color.text("default_profile") or defaults.color_profile,
        bg_remove_backends=_backends(bg_remove) or defaults.bg_remove_backends,
        bg_remove_format=_format(bg_remove) or defaults.bg_remove_format,
        bg_refine_openai=defaults.bg_refine_openai if enabled is None else enabled,
        bg_refine_openai_required=defaults.bg_refine_openai_required if required is None else required,
    )


def planned_postprocess(
    layer: SettingsLayer, config: PostprocessConfig, switches: PostprocessSwitches | None = None
) -> PostprocessLog:
    """What the order's switches, else the settings, switch on; details from them, else from the config.

    Raises:
        PlanningPreflightError: A backend is unknown, or none is left to try.
    """
    if switches is not None:
        layer = switches.over(layer)
    record = PostprocessLog(upscale=layer.upscale or False, color=layer.color or False)
    if layer.bg_remove:
        _plan_bg_remove(record, layer, config)
    if record.upscale:
        record.upscale_backend = _upscale_backend(layer.upscale_backend or config.upscale_backend)
        record.pipeline_order.append("upscale")
    if record.color:
        record.color_profile = layer.color_profile or config.color_profile
        record.pipeline_order.append("color")
    return record


def _plan_bg_remove(record: PostprocessLog, layer: SettingsLayer, config: PostprocessConfig) -> None:
    backends = config.bg_remove_backends if layer.bg_remove_backends is None else layer.bg_remove_backends
    record.bg_remove = True
    record.bg_remove_backends = [_backend(name) for name in backends]
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


def _upscale_backend(name: str) -> str:
    if name.lower() not in UPSCALE_BACKENDS:
        raise PlanningPreflightError(
            f"Unknown upscale backend '{name}' in 'postprocess.upscale_backend';"
            f" choose from: {', '.join(UPSCALE_BACKENDS)}"
        )
    return name.lower()


def _backend(name: str) -> str:
    if name.lower() not in BG_REMOVE_BACKENDS:
        raise PlanningPreflightError(
            f"Unknown background backend '{name}' in 'postprocess.bg_remove_backends';"
            f" choose from: {', '.join(BG_REMOVE_BACKENDS)}"
        )
    return name.lower()


def _backends(section: ConfigObject) -> tuple[str, ...] | None:
    names = section.texts("backends")
    if names is None:
        return None
    if not names or any(name.lower() not in BG_REMOVE_BACKENDS for name in names):
        raise section.wrong("backends", f"an array of one or more of: {', '.join(BG_REMOVE_BACKENDS)}")
    return tuple(name.lower() for name in names)


def _format(section: ConfigObject) -> str | None:
    name = section.choice("format", _FORMATS)
    return "jpg" if name == "jpeg" else name
