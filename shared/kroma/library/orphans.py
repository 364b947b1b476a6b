"""Removing objects that no row names."""

from collections.abc import Sequence

import structlog
from sqlalchemy import and_, or_, select

from kroma.assets.models import Asset
from kroma.db.engine import Database
from kroma.library.project_files import ProjectFiles

log = structlog.get_logger(__name__)


async def discard(db: Database, files: ProjectFiles, keys: Sequence[str]) -> None:
    """Remove objects, except those that a row names by then.

    What cannot be removed is logged and left: it is whole, and the next upload of the same bytes uses it.
    """
    if not keys:
        return
    keys_by_uri = {files.store.uri(key): key for key in keys}
    is_own = and_(Asset.project_id == files.project_id, Asset.rel_path.in_(keys))
    statement = select(Asset.project_id, Asset.rel_path, Asset.storage_uri).where(
        or_(is_own, Asset.storage_uri.in_(keys_by_uri))
    )
    try:
        async with db.transaction() as session:
            rows = (await session.execute(statement)).all()
        kept = {path for project_id, path, _ in rows if project_id == files.project_id}
        kept.update(keys_by_uri[uri] for *_, uri in rows if uri in keys_by_uri)
        await files.store.delete([key for key in keys if key not in kept])
    except Exception:
        # The caller's own error, or its success, is what counts.
        log.exception("uploaded files were left without a row", keys=list(keys))
