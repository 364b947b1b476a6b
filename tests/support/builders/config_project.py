"""A data directory with one project in it, for tests of what configures a run."""

import json
from pathlib import Path

from kroma.config import Settings
from kroma.pipeline.planning.config_files import ConfigFiles
from kroma.storage.directory import DirectoryStore, DirectoryStores


class ConfigProject:
    """Writes the files of an installation and a project."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.root = data_dir / "var" / "projects" / "comic"
        self.root.mkdir(parents=True)

    def settings(self, *, allow_any_root: bool = False, provider: str = "local") -> Settings:
        variables = {"KROMA_ALLOW_ANY_ROOT": str(allow_any_root), "KROMA_PROVIDER": provider}
        return Settings.from_environment(variables, data_dir=self.data_dir)

    def stores(self) -> DirectoryStores:
        return DirectoryStores(self.data_dir, allow_any_root=True)

    def files(self, *, allow_any_root: bool = False, is_confined: bool = False) -> ConfigFiles:
        return ConfigFiles(
            self.data_dir,
            DirectoryStore(self.root),
            allow_any_root=allow_any_root,
            is_confined=is_confined,
        )

    def write(self, path: str | Path, content: object) -> Path:
        """A file below the data directory; what is not bytes or text is written as JSON."""
        target = self.data_dir / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            target.write_bytes(content)
        else:
            target.write_text(content if isinstance(content, str) else json.dumps(content))
        return target

    def put(self, path: str | Path, content: object) -> Path:
        """A file below the project root."""
        return self.write(self.root / path, content)

    def configure(self, **settings: object) -> None:
        """The project's settings file."""
        self.put(".kroma/pipeline.settings.json", settings)

    def manifest(self, **values: object) -> None:
        """A manifest, and settings that name it."""
        self.write("manifest.json", values)
        self.configure(manifest_path="manifest.json")
