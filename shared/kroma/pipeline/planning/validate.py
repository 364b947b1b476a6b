"""Checks a project's configuration without planning a run (contract 3.9)."""

from collections.abc import Awaitable
from typing import Protocol, TypeVar

import msgspec

from kroma.config import Settings
from kroma.db.engine import Database
from kroma.errors import InvalidRequestError
from kroma.pipeline.planning.config_files import ConfigFiles
from kroma.pipeline.planning.errors import ConfigValidationError, ProjectRootManagedError
from kroma.pipeline.planning.manifest import load_manifest
from kroma.pipeline.planning.postprocess_config import load_postprocess_config
from kroma.pipeline.planning.settings_layers import load_layers
from kroma.projects.queries import get_project
from kroma.projects.storage import open_project_store
from kroma.storage.base import ProjectStores

Loaded = TypeVar("Loaded")


class RawConfig(Protocol):
    """A validate-config body; only its JSON types are checked."""

    @property
    def project_root(self) -> str | None: ...
    @property
    def app_settings_path(self) -> str | None: ...
    @property
    def project_settings_path(self) -> str | None: ...
    @property
    def manifest_path(self) -> str | None: ...
    @property
    def postprocess_config_path(self) -> str | None: ...


class ConfigSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration that a run of the project would use."""

    app_settings_loaded: bool
    project_settings_loaded: bool
    resolved_manifest_path: str | None
    """The path as written, from the request or else the settings; None if there is none."""
    resolved_postprocess_config_path: str | None


async def validate_config(
    db: Database, stores: ProjectStores, settings: Settings, *, slug: str, raw: RawConfig, is_confined: bool
) -> ConfigSummary:
    """Load both settings layers, the manifest and the postprocess config of a project.

    Raises:
        ProjectNotFoundError: No project has this slug.
        ProjectRootManagedError: The body names a project root.
        ConfigValidationError: One of the files is invalid.
    """
    async with db.transaction() as session:
        project = await get_project(session, slug)
    if _given(raw.project_root) is not None:
        raise ProjectRootManagedError
    store = open_project_store(stores, project.id, project.slug, project.storage)
    files = ConfigFiles(
        settings.data_dir, store, allow_any_root=settings.allow_any_root, is_confined=is_confined
    )
    app_path, project_path = _given(raw.app_settings_path), _given(raw.project_settings_path)
    layers = await _part("settings layer", load_layers(files, app_path=app_path, project_path=project_path))
    manifest_path, its_files = _given(raw.manifest_path), files
    if manifest_path is None:
        manifest_path, its_files = layers.merged.manifest_path, layers.files(files, "manifest_path")
    await _part("planning manifest", load_manifest(its_files, manifest_path))
    config_path, its_files = _given(raw.postprocess_config_path), files
    if config_path is None:
        config_path = layers.merged.postprocess_config_path
        its_files = layers.files(files, "postprocess_config_path")
    await _part("postprocess config", load_postprocess_config(its_files, config_path))
    return ConfigSummary(
        app_settings_loaded=layers.app.is_loaded,
        project_settings_loaded=layers.project.is_loaded,
        resolved_manifest_path=manifest_path,
        resolved_postprocess_config_path=config_path,
    )


def _given(text: str | None) -> str | None:
    return (text or "").strip() or None


async def _part(name: str, loading: Awaitable[Loaded]) -> Loaded:
    try:
        return await loading
    except InvalidRequestError as exc:
        raise ConfigValidationError(name, exc.message) from exc
