"""Removing objects that no row names."""

from collections.abc import Sequence

import structlog
from sqlalchemy import or_, select

from kroma.assets.models import Asset
from kroma.db.engine import Database
from kroma.library.place import ProjectFiles

log = structlog.get_logger(__name__)


async def discard(db: Database, files: ProjectFiles, keys: Sequence[str]) -> None:
    """Remove objects, except those that a row names by then: of this project, or of one in the same place.

    What cannot be removed is logged and left: it is whole, and the next upload of the same bytes uses it.
    """
    if not keys:
        return
    store = files.store
    named = or_(
        (Asset.project_id == files.project_id) & Asset.rel_path.in_(keys),
        Asset.storage_uri.in_([store.uri(key) for key in keys]),
    )
    try:
        async with db.transaction() as session:
            rows = await session.execute(select(Asset.rel_path, Asset.storage_uri).where(named))
            kept = {value for row in rows for value in row}
        await store.delete([key for key in keys if key not in kept and store.uri(key) not in kept])
    except Exception:
        # The caller's own error, or its success, is what counts.
        log.exception("uploaded files were left without a row", keys=list(keys))
