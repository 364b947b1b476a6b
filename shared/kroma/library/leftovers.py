"""Removing objects that no row names."""

import posixpath
from collections.abc import Sequence

import structlog
from sqlalchemy import or_, select

from kroma.assets.models import Asset
from kroma.db.engine import Database
from kroma.library.place import ProjectFiles
from kroma.projects.models import Project, ProjectStorage
from kroma.storage.directory import DEFAULT_BASE_DIR

log = structlog.get_logger(__name__)


async def discard(db: Database, files: ProjectFiles, keys: Sequence[str]) -> None:
    """Remove objects, except those that a row names by then: of this project, or of one in the same place.

    What cannot be removed is logged and left: it is whole, and the next upload of the same bytes uses it.
    """
    if not keys:
        return
    store = files.store
    keys_by_uri = {store.uri(key): key for key in keys}
    statement = (
        select(Asset.rel_path, Asset.storage_uri, Asset.project_id, Project.slug, ProjectStorage)
        .join(Project, Project.id == Asset.project_id)
        .outerjoin(ProjectStorage, ProjectStorage.project_id == Project.id)
        .where(or_(Asset.rel_path.in_(keys), Asset.storage_uri.in_(keys_by_uri)))
    )
    try:
        async with db.transaction() as session:
            rows = (await session.execute(statement)).all()
        kept = {keys_by_uri[uri] for _, uri, *_ in rows if uri in keys_by_uri} | {
            # A sync has given rows of another project in this place the address of their copy.
            path
            for path, _, project_id, slug, storage in rows
            if project_id == files.project_id or _lies_at(store.location, slug, storage)
        }
        await store.delete([key for key in keys if key not in kept])
    except Exception:
        # The caller's own error, or its success, is what counts.
        log.exception("uploaded files were left without a row", keys=list(keys))


def _lies_at(location: str, slug: str, storage: ProjectStorage | None) -> bool:
    """Whether a project's files are at a place on a disk, as far as its settings tell."""
    base_dir = DEFAULT_BASE_DIR if storage is None else storage.local_base_dir
    root = (storage.local_project_root if storage is not None else None) or f"{base_dir}/{slug}"
    return f"/{location.strip('/')}".endswith(f"/{posixpath.normpath(root).strip('/')}")
