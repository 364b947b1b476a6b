"""A project and the store of its files, in one read."""

from typing import NamedTuple
from uuid import UUID

from kroma.db.engine import Database
from kroma.projects.queries import get_stored_project
from kroma.projects.storage import locate_project
from kroma.storage.base import ObjectStore, ProjectStores


class ProjectFiles(NamedTuple):
    """Which project, and its files as they lie now."""

    project_id: UUID
    slug: str
    store: ObjectStore


async def open_project(db: Database, stores: ProjectStores, slug: str) -> ProjectFiles:
    """The files of the project whose slug ``slug`` normalises to.

    Raises:
        ProjectNotFoundError: There is none.
    """
    async with db.reading() as reader:
        project, storage = await get_stored_project(reader, slug)
    location = locate_project(stores, project.id, project.slug, storage)
    return ProjectFiles(project.id, project.slug, stores.open(location))
