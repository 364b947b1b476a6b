"""What a project has already, found by its content."""

from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Uuid, bindparam, case

from kroma.assets.models import Asset, AssetKind
from kroma.db.engine import Database
from kroma.db.reader import Query, RowMapper, equals
from kroma.errors import InvalidRequestError
from kroma.library.project_files import ProjectFiles
from kroma.storage.base import ObjectStore

UPLOADED_KINDS: Final = (AssetKind.INPUT, AssetKind.REFERENCE)


BEST_FIRST: Final[tuple[Any, ...]] = (
    case(*((Asset.kind == kind.value, 0) for kind in UPLOADED_KINDS), else_=1),
    Asset.created_at,
    Asset.id,
)
"""Of assets with the same bytes, the first stands for them: what a person brought, then the oldest."""

_rows = RowMapper(Asset)
_SAME: Final = Query(
    _rows,
    _rows.statement.where(
        Asset.project_id == bindparam("project_id", type_=Uuid()), equals(Asset.sha256)
    ).order_by(*BEST_FIRST),
)


async def find_known(db: Database, files: ProjectFiles, sha256: str) -> Asset | None:
    """The project's asset of this content whose file still is that; it need not be decoded again."""
    for asset in await _same(db, files.project_id, sha256):
        key = find_key(files.store, asset.rel_path)
        if key is not None and await files.store.checksum(key) == sha256:
            return asset
    return None


async def list_changed(db: Database, files: ProjectFiles, hashes: Iterable[str]) -> set[UUID]:
    """Assets with these checksums whose file is another one now: somebody changed it on the disk."""
    changed: set[UUID] = set()
    for sha256 in hashes:
        for asset in await _same(db, files.project_id, sha256):
            key = find_key(files.store, asset.rel_path)
            now = None if key is None else await files.store.checksum(key)
            if now not in {None, sha256}:
                changed.add(asset.id)
    return changed


async def _same(db: Database, project_id: UUID, sha256: str) -> list[Asset]:
    async with db.reading() as reader:
        return await _SAME.all(reader, project_id=project_id, sha256=sha256)


def find_key(store: ObjectStore, rel_path: str) -> str | None:
    """The key of an asset's file; None for one outside the project, as old logs name some."""
    try:
        return store.key_of(rel_path) or None
    except InvalidRequestError:
        return None
