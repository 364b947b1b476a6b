"""Keeping uploaded pictures: objects first, all rows in one transaction, then what is left over goes."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.assets.models import Asset, AssetKind
from kroma.audit import service as audit
from kroma.db.engine import Database
from kroma.imaging.header import MAX_BYTES, PictureHeader
from kroma.library.deduplication import BEST_FIRST, find_key, list_changed
from kroma.library.delivery import Delivery, Picture
from kroma.library.orphans import discard
from kroma.library.project_files import ProjectFiles
from kroma.library.references import add_items, check_set
from kroma.runlog.ids import asset_id
from kroma.storage.base import ObjectStore
from kroma.storage.keys import upload_key

FOLDERS: Final[Mapping[AssetKind, str]] = {AssetKind.INPUT: "scenes", AssetKind.REFERENCE: "references"}
"""Where the kinds lie that a person may bring."""
_PUT_AT_ONCE: Final = 4


class UploadRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the pictures of an upload are to be."""

    kind: AssetKind = AssetKind.REFERENCE
    reference_set_id: str | None = None
    """Each picture becomes an item of this set, in order."""
    metadata: dict[str, Any] = {}
    """For every new asset."""


class KeptPicture(NamedTuple):
    """What became of one picture of an upload."""

    asset: Asset
    is_duplicate: bool
    """The project had these bytes already, or an earlier file of the upload has them."""
    item_id: UUID | None
    """The item of the reference set that shows it."""


class KeptUpload(NamedTuple):
    """What became of an upload."""

    pictures: list[KeptPicture]
    """In the order they were sent."""
    audit_id: UUID


class _Object(NamedTuple):
    """Where the bytes of a picture lie."""

    key: str
    is_new: bool
    """Whether this upload put them there."""


class _VanishedError(Exception):
    """What the project had of a picture is gone since it was looked up."""


async def keep_pictures(
    db: Database, files: ProjectFiles, delivery: Delivery, request: UploadRequest, *, actor: UUID | None
) -> KeptUpload:
    """Keep everything that was delivered, or nothing of it.

    The same bytes are one asset of a project, whatever they are called: the one there is stays as it is.

    Raises:
        PictureError: A file is no whole picture, or too large.
        ReferenceSetNotFoundError: The project has no such set.
        StoreFullError: No space is left in the store.
        StoreUnavailableError: The store cannot be written.
    """
    pictures = await delivery.pictures()
    await check_set(db, files.slug, request.reference_set_id)
    try:
        return await _keep(db, files, pictures, request, actor=actor)
    except _VanishedError:
        pictures = [await delivery.decode(picture) for picture in pictures]
        return await _keep(db, files, pictures, request, actor=actor)


async def _keep(
    db: Database,
    files: ProjectFiles,
    pictures: Sequence[Picture],
    request: UploadRequest,
    *,
    actor: UUID | None,
) -> KeptUpload:
    new = {picture.kept.sha256: picture for picture in reversed(pictures) if picture.header is not None}
    changed = await list_changed(db, files, list(new))
    objects: dict[str, _Object] = {}
    try:
        await _put_all(files.store, new, request.kind, objects)
        rows = _Rows(files, pictures, objects, request, changed)
        async with db.transaction() as session:
            kept = await rows.write(session, actor=actor)
    except BaseException:
        await asyncio.shield(_discard_new(db, files, objects, used=()))
        raise
    await _discard_new(db, files, objects, used={picture.asset.rel_path for picture in kept.pictures})
    await _restore_missing(db, files, new, kept)
    return kept


async def _put_all(
    store: ObjectStore, new: Mapping[str, Picture], kind: AssetKind, objects: dict[str, _Object]
) -> None:
    """Put what is not there yet; ``objects`` learns of each as soon as it may be there."""
    free = asyncio.Semaphore(_PUT_AT_ONCE)

    async def put(sha256: str, picture: Picture) -> None:
        async with free:
            key, is_there = await _free_key(store, picture, FOLDERS[kind])
            objects[sha256] = _Object(key, is_new=not is_there)
            if not is_there:
                await _put(store, key, picture)

    outcomes = await asyncio.gather(*(put(*item) for item in new.items()), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def _put(store: ObjectStore, key: str, picture: Picture) -> None:
    chunks = picture.spool.chunks(picture.kept)
    await store.put_stream(key, chunks, limit_bytes=MAX_BYTES, sha256=picture.kept.sha256)


async def _free_key(store: ObjectStore, picture: Picture, folder: str) -> tuple[str, bool]:
    """The first key of its name that is free, or has exactly these bytes: nothing is overwritten."""
    kept, variant = picture.kept, 0
    while True:
        key = upload_key(folder, picture.name, kept.sha256, picture.extension, variant=variant)
        taken_by = await store.checksum(key)
        if taken_by in {None, kept.sha256}:
            return key, taken_by is not None
        variant += 1


class _Rows:
    """The rows of one upload."""

    def __init__(
        self,
        files: ProjectFiles,
        pictures: Sequence[Picture],
        objects: Mapping[str, _Object],
        request: UploadRequest,
        changed: Collection[UUID],
    ) -> None:
        self._files = files
        self._pictures = pictures
        self._objects = objects
        self._request = request
        self._changed = changed

    async def write(self, session: AsyncSession, *, actor: UUID | None) -> KeptUpload:
        """Find or add an asset for each picture, its item, and the event."""
        # Of uploads that bring the same picture at the same time, the second finds the row of the first.
        lock = func.hashtextextended(f"upload {self._files.project_id}", 0)
        await session.execute(select(func.pg_advisory_xact_lock(lock)))
        assets = await self._find_known(session)
        was_known: list[bool] = []
        for picture in self._pictures:
            sha256 = picture.kept.sha256
            was_known.append(sha256 in assets)
            if sha256 not in assets:
                assets[sha256] = self._new_row(picture)
                session.add(assets[sha256])
        await session.flush()
        named = [(assets[picture.kept.sha256], picture.name) for picture in self._pictures]
        items = await add_items(session, self._files, self._request.reference_set_id, named)
        kept = [
            KeptPicture(asset, is_known, items.get(asset.id))
            for (asset, _), is_known in zip(named, was_known, strict=True)
        ]
        event = await audit.record(
            session,
            code="asset.upload",
            project_id=self._files.project_id,
            actor=actor,
            payload={
                "asset_ids": [str(one.asset.id) for one in kept if not one.is_duplicate],
                "duplicate_asset_ids": [str(one.asset.id) for one in kept if one.is_duplicate],
                "kind": self._request.kind,
                "reference_set_id": self._request.reference_set_id or "",
            },
        )
        return KeptUpload(kept, event.id)

    async def _find_known(self, session: AsyncSession) -> dict[str, Asset]:
        """The assets that the project has of these pictures, by checksum."""
        decoded = {one.kept.sha256: one for one in self._pictures if one.header is not None}
        keys = {at.key: sha256 for sha256, at in self._objects.items()}
        hashes = {picture.kept.sha256 for picture in self._pictures}
        statement = select(Asset).where(
            Asset.project_id == self._files.project_id,
            or_(Asset.sha256.in_(hashes), Asset.rel_path.in_(keys)),
            Asset.id.not_in(self._changed),
        )
        known: dict[str, Asset] = {}
        # Locked against a delete, which has either taken the row away by now or will see what refers to it.
        locked = statement.order_by(*BEST_FIRST).with_for_update(read=True, key_share=True)
        for asset in await session.scalars(locked):
            sha256 = keys.get(asset.rel_path, asset.sha256 or "")
            if asset.sha256 != sha256:  # nobody measured it, or another file lay there then
                _describe(asset, decoded[sha256])
            if find_key(self._files.store, asset.rel_path) is not None:
                known.setdefault(sha256, asset)
        return known

    def _new_row(self, picture: Picture) -> Asset:
        if picture.header is None:
            raise _VanishedError
        store, key = self._files.store, self._objects[picture.kept.sha256].key
        sent: dict[str, Any] = {"name": picture.name, "mime_type": picture.sent_mime_type}
        if picture.sent.sha256 != picture.kept.sha256:
            sent |= {"sha256": picture.sent.sha256, "size_bytes": picture.sent.size_bytes}
        asset = Asset(
            id=asset_id(self._files.project_id, key),
            project_id=self._files.project_id,
            kind=self._request.kind,
            storage_uri=store.uri(key),
            rel_path=key,
            storage_backend=store.backend,
            metadata_json={**self._request.metadata, "upload": sent},
        )
        _describe(asset, picture)
        return asset


def _describe(asset: Asset, picture: Picture) -> None:
    header: PictureHeader | None = picture.header
    if header is None:
        raise _VanishedError
    asset.mime_type, asset.width, asset.height = header.mime_type, header.width, header.height
    asset.size_bytes, asset.sha256 = picture.kept.size_bytes, picture.kept.sha256


async def _discard_new(
    db: Database, files: ProjectFiles, objects: Mapping[str, _Object], *, used: Collection[str]
) -> None:
    await discard(db, files, [at.key for at in objects.values() if at.is_new and at.key not in used])


async def _restore_missing(
    db: Database, files: ProjectFiles, new: Mapping[str, Picture], kept: KeptUpload
) -> None:
    """Put again what somebody took away between the put and the commit, like the delete of the same picture.

    A row that was there without its file gets the file back, too. One that was deleted meanwhile does not.
    """
    store = files.store
    for picture in kept.pictures:
        asset = picture.asset
        source = new.get(asset.sha256 or "")
        key = find_key(store, asset.rel_path)
        if source is not None and key is not None and await store.size(key) is None:
            await _put(store, key, source)
            await discard(db, files, [key])
