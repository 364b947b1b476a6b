"""Layered pipeline settings (pipeline.md 2): the project's file over the installation's."""

from typing import Final, Self

import msgspec

from kroma.pipeline.planning.config_files import ConfigFile, ConfigFiles, ConfigObject
from kroma.postprocess.installed import CUTOUT_BACKENDS, UPSCALE_BACKENDS

APP_TOML: Final = "config/pipeline.settings.toml"
APP_JSON: Final = "config/pipeline.settings.json"
PROJECT_JSON: Final = ".kroma/pipeline.settings.json"
BG_REMOVE_BACKENDS: Final = CUTOUT_BACKENDS


class SettingsLayer(msgspec.Struct, frozen=True, kw_only=True):
    """One file's settings; None where it says nothing."""

    manifest_path: str | None = None
    postprocess_config_path: str | None = None
    upscale: bool | None = None
    upscale_backend: str | None = None
    color: bool | None = None
    color_profile: str | None = None
    bg_remove: bool | None = None
    bg_remove_backends: tuple[str, ...] | None = None
    """Replaces the lower layer's whole; which of them exist is checked when a run is planned."""
    bg_refine_openai: bool | None = None
    bg_refine_openai_required: bool | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether the file set at least one known key."""
        return self != SettingsLayer()

    def over(self, lower: Self) -> Self:
        """This layer's settings where it has one, else the lower layer's."""
        return msgspec.structs.replace(
            lower,
            **{name: value for name, value in msgspec.structs.asdict(self).items() if value is not None},
        )


class Layers(msgspec.Struct, frozen=True, kw_only=True):
    """Both files, as read."""

    app: SettingsLayer
    project: SettingsLayer
    is_app_named: bool = False
    """Whether the caller chose the app settings, so that they are not the operator's word."""

    @property
    def merged(self) -> SettingsLayer:
        """Project over app."""
        return self.project.over(self.app)

    def files(self, files: ConfigFiles, field: str) -> ConfigFiles:
        """The files among which the path in a field counts: where the operator wrote it, all of theirs."""
        is_operators = getattr(self.project, field) is None and not self.is_app_named
        return files.of_operator if is_operators else files


async def load_layers(
    files: ConfigFiles, *, app_path: str | None = None, project_path: str | None = None
) -> Layers:
    """Read both layers; a file that is missing is an empty layer, even where its path was given.

    Args:
        files: Where the files lie.
        app_path: TOML when it ends in ``.toml``, else JSON; None takes the default files.
        project_path: JSON; None takes the default file.

    Raises:
        ConfigFileError: A file cannot be read, is no valid TOML or JSON, or has a field of a wrong type.
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
