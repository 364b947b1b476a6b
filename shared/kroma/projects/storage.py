"""Where a project's files are."""

from pathlib import Path

from kroma.projects.models import DEFAULT_BASE_DIR, ProjectStorage


def resolve_root(data_dir: Path, project_slug: str, storage: ProjectStorage | None) -> Path:
    """The absolute root of a project (contract 3.4): its explicit root, else ``<base_dir>/<slug>``.

    Relative paths start at the data directory. Symlinks and ``..`` stay as they are stored, since
    the contract echoes paths unchanged; who opens the root checks where it leads.
    """
    if storage is not None and storage.local_project_root:
        return data_dir / storage.local_project_root
    base_dir = DEFAULT_BASE_DIR if storage is None else storage.local_base_dir
    return data_dir / base_dir / project_slug


def is_inside(data_dir: Path, path: Path) -> bool:
    """Whether a path, symlinks followed as far as they exist, leads into the data directory."""
    return path.resolve().is_relative_to(data_dir.resolve())
