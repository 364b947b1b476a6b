"""What planning needs of a project, in one read."""

import re
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import bindparam, exists, select

from kroma.baselines.models import Baseline
from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.pipeline.errors import InvalidProjectSlugError
from kroma.projects.errors import ProjectNotFoundError
from kroma.projects.models import Project, ProjectStorage
from kroma.projects.slugs import normalised_slug
from kroma.projects.storage import locate_project
from kroma.storage.base import ProjectStores

_SLUG: Final = re.compile(r"[A-Za-z0-9_-]+")


class Place(msgspec.Struct, frozen=True):
    """Which project, and where its files are."""

    id: UUID
    slug: str
    storage: ProjectStorage | None
    has_baselines: bool = False
    """Whether any scene of it has a locked picture."""

    def location(self, stores: ProjectStores) -> str:
        """Where its files are now."""
        return locate_project(stores, self.id, self.slug, self.storage)


_PLACE: Final = Prepared(
    select(
        Project.id,
        Project.slug,
        ProjectStorage.local_base_dir,
        ProjectStorage.local_project_root,
        exists()
        .where(Baseline.project_id == Project.id, Baseline.replaced_at.is_(None))
        .label("has_baselines"),
    )
    .join(ProjectStorage, ProjectStorage.project_id == Project.id, isouter=True)
    .where(Project.slug == bindparam("slug"))
)


async def get_place(db: Database, slug: str) -> Place:
    """The place of the project whose slug ``slug`` normalises to.

    Raises:
        ProjectNotFoundError: No project has this slug.
        InvalidProjectSlugError: One has, but the slug is not written as one.
    """
    rows = await db.fetch(_PLACE, {"slug": normalised_slug(slug)})
    if not rows:
        raise ProjectNotFoundError
    if _SLUG.fullmatch(slug.strip()) is None:
        raise InvalidProjectSlugError(slug)
    (row,) = rows
    storage = None
    if row["local_base_dir"] is not None:
        storage = ProjectStorage(
            local_base_dir=row["local_base_dir"], local_project_root=row["local_project_root"]
        )
    return Place(row["id"], row["slug"], storage, row["has_baselines"])
