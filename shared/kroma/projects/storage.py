"""Where a project's files are, and may be."""

from pathlib import Path
from uuid import UUID

from kroma.projects.models import ProjectStorage
from kroma.storage.base import LocalPlace, ProjectStores
from kroma.storage.directory import resolve_root


def locate_project(stores: ProjectStores, project_id: UUID, slug: str, storage: ProjectStorage | None) -> str:
    """Where a project's files are now, for ``ProjectStores.open``; ``storage`` is its row, if it has one."""
    return stores.locate(project_id=project_id, slug=slug, storage=_local_place(storage))


def local_root(data_dir: Path, slug: str, storage: ProjectStorage | None) -> Path:
    """The absolute root of a project on this machine's disk; ``storage`` is its row, if it has one."""
    return resolve_root(data_dir, slug, _local_place(storage))


def _local_place(storage: ProjectStorage | None) -> LocalPlace | None:
    if storage is None:
        return None
    return LocalPlace(base_dir=storage.local_base_dir, project_root=storage.local_project_root)
