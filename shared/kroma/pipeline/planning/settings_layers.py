"""Layered pipeline settings (pipeline.md 2): the project's file over the installation's."""

from typing import Final, TypeVar

import msgspec

from kroma.pipeline.planning.config_files import ConfigFile, ConfigFiles, ConfigObject
from kroma.postprocess.installed import CUTOUT_BACKENDS, UPSCALE_BACKENDS

APP_TOML: Final = "config/pipeline.settings.toml"
APP_JSON: Final = "config/pipeline.settings.json"
PROJECT_JSON: Final = ".kroma/pipeline.settings.json"
BG_REMOVE_BACKENDS: Final = CUTOUT_BACKENDS

StructT = TypeVar("StructT", bound=msgspec.Struct)


def overlaid(lower: StructT, values: dict[str, object]) -> StructT:
    """``lower`` with those of the values that are not None in place of its own."""
    return msgspec.structs.replace(
        lower, **{name: value for name, value in values.items() if value is not None}
    )


class SettingsLayer(msgspec.Struct, frozen=True, kw_only=True):
    """One file's settings; None if the file does not set it."""

    manifest_path: str | None = None
    postprocess_config_path: str | None = None
    upscale: bool | None = None
    upscale_backend: str | None = None
    color: bool | None = None
    color_profile: str | None = None
    bg_remove: bool | None = None
    bg_remove_backends: tuple[str, ...] | None = None
    """Replaces the whole list of the lower layer. Planning checks that these backends exist."""
    bg_refine_openai: bool | None = None
    bg_refine_openai_required: bool | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether the file set at least one known key."""
        return self != SettingsLayer()


class Layers(msgspec.Struct, frozen=True, kw_only=True):
    """Both settings files, as read."""

    app: SettingsLayer
    project: SettingsLayer
    is_app_named: bool = False
    """Whether the caller, not the operator, chose the app settings."""

    @property
    def merged(self) -> SettingsLayer:
        """The project's settings over the app's."""
        return overlaid(self.app, msgspec.structs.asdict(self.project))

    def files(self, files: ConfigFiles, field: str) -> ConfigFiles:
        """The files that the path in a field may name: if the operator wrote it, all of the operator's."""
        is_operators = getattr(self.project, field) is None and not self.is_app_named
        return files.of_operator if is_operators else files


async def load_layers(
    files: ConfigFiles, *, app_path: str | None = None, project_path: str | None = None
) -> Layers:
    """Read both layers; a missing file is an empty layer, even if its path was given.

    Args:
        files: Opens the files.
        app_path: TOML if it ends in ``.toml``, else JSON; None reads the default files.
        project_path: JSON; None reads the default file.

    Raises:
        ConfigFileError: A file cannot be read, is not valid TOML or JSON, or a field has a wrong type.
    """
    if app_path is None:
        app = _layer(await files.of_installation(APP_TOML, APP_JSON))
    else:
        app = _layer(await files.at_data_dir(app_path))
    project = _layer(await files.at_project(project_path or PROJECT_JSON), may_be_toml=False)
    return Layers(app=app, project=project, is_app_named=app_path is not None)


def _layer(file: ConfigFile, *, may_be_toml: bool = True) -> SettingsLayer:
    if file.data is None:
        return SettingsLayer()
    is_toml = may_be_toml and file.path.lower().endswith(".toml")
    root = ConfigObject.of_toml(file) if is_toml else ConfigObject.of_json(file)
    settings = root.section("pipeline") if root.has("pipeline") else root
    postprocess = settings.section("postprocess")
    return SettingsLayer(
        manifest_path=settings.text("manifest_path"),
        postprocess_config_path=settings.text("postprocess_config_path"),
        upscale=postprocess.flag("upscale"),
        upscale_backend=postprocess.choice("upscale_backend", UPSCALE_BACKENDS),
        color=postprocess.flag("color"),
        color_profile=postprocess.text("color_profile"),
        bg_remove=postprocess.flag("bg_remove"),
        bg_remove_backends=postprocess.texts("bg_remove_backends"),
        bg_refine_openai=postprocess.flag("bg_refine_openai"),
        bg_refine_openai_required=postprocess.flag("bg_refine_openai_required"),
    )
