"""A project's id, slug and storage, as planning needs them, in one read."""

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
from kroma.projects.slugs import normalized_slug
from kroma.projects.storage import locate_project, open_project_store
from kroma.storage.base import ObjectStore, ProjectStores

_SLUG: Final = re.compile(r"[A-Za-z0-9_-]+")


class ProjectLocation(msgspec.Struct, frozen=True):
    """A project, and where its files are."""

    id: UUID
    slug: str
    storage: ProjectStorage | None
    has_baselines: bool = False

    def location(self, stores: ProjectStores) -> str:
        """The current root of its files."""
        return locate_project(stores, self.id, self.slug, self.storage)

    @property
    def real_root(self) -> str | None:
        """The registered root on disk; None if there is none."""
        return None if self.storage is None else self.storage.local_real_root

    def open(self, stores: ProjectStores) -> ObjectStore:
        """Open the store of its files."""
        return open_project_store(stores, self.id, self.slug, self.storage)


_LOCATIONS: Final = select(
    Project.id,
    Project.slug,
    ProjectStorage.local_base_dir,
    ProjectStorage.local_project_root,
    ProjectStorage.local_real_root,
    exists().where(Baseline.project_id == Project.id, Baseline.replaced_at.is_(None)).label("has_baselines"),
).join(ProjectStorage, ProjectStorage.project_id == Project.id, isouter=True)
_BY_SLUG: Final = Prepared(_LOCATIONS.where(Project.slug == bindparam("slug")))
_BY_ID: Final = Prepared(_LOCATIONS.where(Project.id == bindparam("project_id", type_=Uuid())))


async def get_location(db: Database, stores: ProjectStores, slug: str) -> ProjectLocation:
    """Find the project by its normalized slug.

    Raises:
        ProjectNotFoundError: No project has this slug.
        InvalidProjectSlugError: The slug has characters that a slug must not have.
    """
    normalized = normalized_slug(slug)
    location = await _find(db, _BY_SLUG, slug=normalized)
    if location is None:
        raise ProjectNotFoundError
    if _SLUG.fullmatch(slug.strip()) is None:
        raise InvalidProjectSlugError(slug)
    if location.real_root is None and stores.registers_roots:
        await settle_roots(db, stores)
        location = await _find(db, _BY_SLUG, slug=normalized) or location
    return location


async def open_planned(
    db: Database, stores: ProjectStores, plan: RunPlan, *, project_id: UUID
) -> ObjectStore:
    """Open the store of a plan's files; a plan older than root registration uses the project's root."""
    real_root = plan.real_root
    if real_root is None and stores.registers_roots:
        await settle_roots(db, stores)
        location = await _find(db, _BY_ID, project_id=project_id)
        if location is not None and location.location(stores) == plan.project_root:
            real_root = location.real_root
    return stores.open(plan.project_root, real_root=real_root)


async def _find(db: Database, statement: Prepared, **values: object) -> ProjectLocation | None:
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
    return ProjectLocation(row["id"], row["slug"], storage, row["has_baselines"])
