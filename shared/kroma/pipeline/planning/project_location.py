"""What planning needs of a project, in one read."""

import re
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import Uuid, bindparam, exists, select

from kroma.baselines.models import Baseline
from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.pipeline.planning.errors import InvalidProjectSlugError
from kroma.pipeline.planning.plan import RunPlan
from kroma.projects.errors import ProjectNotFoundError
from kroma.projects.models import Project, ProjectStorage
from kroma.projects.roots import settle_roots
from kroma.projects.slugs import normalised_slug
from kroma.projects.storage import locate_project, open_project_store
from kroma.storage.base import ObjectStore, ProjectStores

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

    @property
    def real_root(self) -> str | None:
        """What is registered as its root on a disk."""
        return None if self.storage is None else self.storage.local_real_root

    def open(self, stores: ProjectStores) -> ObjectStore:
        """The store of its files as they are now."""
        return open_project_store(stores, self.id, self.slug, self.storage)


_PLACES: Final = select(
    Project.id,
    Project.slug,
    ProjectStorage.local_base_dir,
    ProjectStorage.local_project_root,
    ProjectStorage.local_real_root,
    exists().where(Baseline.project_id == Project.id, Baseline.replaced_at.is_(None)).label("has_baselines"),
).join(ProjectStorage, ProjectStorage.project_id == Project.id, isouter=True)
_BY_SLUG: Final = Prepared(_PLACES.where(Project.slug == bindparam("slug")))
_BY_ID: Final = Prepared(_PLACES.where(Project.id == bindparam("project_id", type_=Uuid())))


async def get_place(db: Database, stores: ProjectStores, slug: str) -> Place:
    """The place of the project whose slug ``slug`` normalises to.

    Raises:
        ProjectNotFoundError: No project has this slug.
        InvalidProjectSlugError: One has, but the slug is not written as one.
    """
    normalised = normalised_slug(slug)
    place = await _find(db, _BY_SLUG, slug=normalised)
    if place is None:
        raise ProjectNotFoundError
    if _SLUG.fullmatch(slug.strip()) is None:
        raise InvalidProjectSlugError(slug)
    if place.real_root is None and stores.registers_roots:
        await settle_roots(db, stores)
        place = await _find(db, _BY_SLUG, slug=normalised) or place
    return place


async def open_planned(
    db: Database, stores: ProjectStores, plan: RunPlan, *, project_id: UUID
) -> ObjectStore:
    """The store that a plan's files are in; a plan from before roots were registered has the project's."""
    real_root = plan.real_root
    if real_root is None and stores.registers_roots:
        await settle_roots(db, stores)
        place = await _find(db, _BY_ID, project_id=project_id)
        if place is not None and place.location(stores) == plan.project_root:
            real_root = place.real_root
    return stores.open(plan.project_root, real_root=real_root)


async def _find(db: Database, statement: Prepared, **values: object) -> Place | None:
    rows = await db.fetch(statement, values)
    if not rows:
        return None
    (row,) = rows
    storage = None
    if row["local_base_dir"] is not None:
        storage = ProjectStorage(
            local_base_dir=row["local_base_dir"],
            local_project_root=row["local_project_root"],
            local_real_root=row["local_real_root"],
        )
    return Place(row["id"], row["slug"], storage, row["has_baselines"])
