"""A project and the store of its files, in one read."""

from typing import NamedTuple
from uuid import UUID

from kroma.db.engine import Database
from kroma.projects.queries import get_stored_project
from kroma.projects.roots import settle_roots
from kroma.projects.storage import open_project_store, refuse_unregistered
from kroma.storage.base import ObjectStore, ProjectStores


class ProjectFiles(NamedTuple):
    """Which project, and its files as they lie now."""

    project_id: UUID
    slug: str
    store: ObjectStore


async def open_project(
    db: Database, stores: ProjectStores, slug: str, *, for_writing: bool = False
) -> ProjectFiles:
    """The files of the project whose slug ``slug`` normalizes to.

    Raises:
        ProjectNotFoundError: There is none.
        RootNotRegisteredError: They are to be written, and its root is not its own alone.
    """
    async with db.reading() as reader:
        project, storage = await get_stored_project(reader, slug)
    if stores.registers_roots and storage is not None and storage.local_real_root is None:
        await settle_roots(db, stores)
        async with db.reading() as reader:
            project, storage = await get_stored_project(reader, slug)
    store = open_project_store(stores, project.id, project.slug, storage)
    if for_writing:
        await refuse_unregistered(stores, store, None if storage is None else storage.local_real_root)
    return ProjectFiles(project.id, project.slug, store)
