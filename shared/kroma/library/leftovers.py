"""Removing objects that no row names."""

from collections.abc import Sequence

import structlog
from sqlalchemy import select

from kroma.assets.models import Asset
from kroma.db.engine import Database
from kroma.library.place import ProjectFiles

log = structlog.get_logger(__name__)


async def discard(db: Database, files: ProjectFiles, keys: Sequence[str]) -> None:
    """Remove objects, except those that a row of the project names by then.

    What cannot be removed is logged and left: it is whole, and the next upload of the same bytes uses it.
    """
    if not keys:
        return
    statement = select(Asset.rel_path).where(Asset.project_id == files.project_id, Asset.rel_path.in_(keys))
    try:
        async with db.transaction() as session:
            kept = set(await session.scalars(statement))
        await files.store.delete([key for key in keys if key not in kept])
    except Exception:
        # The caller's own error, or its success, is what counts.
        log.exception("uploaded files were left without a row", keys=list(keys))
