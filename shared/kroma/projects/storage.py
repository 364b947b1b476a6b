"""Where a project's files are, and may be."""

from uuid import UUID

from kroma.projects.models import ProjectStorage
from kroma.storage.base import LocalStorage, ObjectStore, ProjectStores
from kroma.storage.errors import RootNotRegisteredError


def locate_project(stores: ProjectStores, project_id: UUID, slug: str, storage: ProjectStorage | None) -> str:
    """Where a project's files are now, as people are shown it; ``storage`` is its row, if it has one."""
    root = None if storage is None else local_storage(storage)
    return stores.locate(project_id=project_id, slug=slug, storage=root)


def open_project_store(
    stores: ProjectStores, project_id: UUID, slug: str, storage: ProjectStorage | None
) -> ObjectStore:
    """The store of a project's files as they are now."""
    location = locate_project(stores, project_id, slug, storage)
    return stores.open(location, real_root=None if storage is None else storage.local_real_root)


async def refuse_unregistered(stores: ProjectStores, store: ObjectStore, registered: str | None) -> None:
    """Pass only a store whose root is the project's own.

    Raises:
        RootNotAllowedError: No project may be there.
        RootNotRegisteredError: It overlaps that of another project.
    """
    if stores.registers_roots and registered is None:
        await store.is_folder("")  # which fails where no project may be
        raise RootNotRegisteredError(store.location)


def local_storage(storage: ProjectStorage) -> LocalStorage:
    """What a row says of the disk."""
    return LocalStorage(base_dir=storage.local_base_dir, project_root=storage.local_project_root)
