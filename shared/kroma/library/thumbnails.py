"""Thumbnails: made once, kept in the project's store, made again when they are missing."""

import asyncio
import hashlib
from typing import Final, NamedTuple

import structlog

from kroma.assets.models import Asset
from kroma.cpu import CpuPool
from kroma.errors import InfraError
from kroma.imaging.by_name import thumbnail
from kroma.imaging.header import MAX_BYTES
from kroma.library.content import file_of, is_picture
from kroma.library.errors import AssetFileMissingError, NoPictureError
from kroma.storage.base import ObjectStore
from kroma.storage.errors import ObjectNotFoundError
from kroma.storage.keys import thumbnail_key

log = structlog.get_logger(__name__)

SIZES_PX: Final = (64, 128, 256, 512, 1024)
"""Of the longer side."""
DEFAULT_SIZE_PX: Final = 256
_MADE_AT_ONCE: Final = 4
"""Pictures that one process holds for it, each of up to 64 MiB."""
_LARGEST_BYTES: Final = 8 * 1024**2


class Thumbnail(NamedTuple):
    """A WebP of the asset's picture."""

    data: bytes
    tag: str


def thumbnail_tag(asset: Asset, size_px: int) -> str:
    """The entity tag of a thumbnail; weak where nobody measured the picture."""
    if asset.sha256:
        return f'"{asset.sha256}-{size_px}"'
    return f'W/"{asset.id}-{size_px}"'


class Thumbnails:
    """Makes thumbnails; of many who ask for one at the same time, one waits for the work and all get it."""

    def __init__(self, cpu: CpuPool) -> None:
        self._cpu = cpu
        self._places = asyncio.Semaphore(_MADE_AT_ONCE)
        self._making: dict[str, asyncio.Task[bytes]] = {}

    async def get(self, store: ObjectStore, asset: Asset, size_px: int) -> Thumbnail:
        """The thumbnail of an asset.

        Raises:
            NoPictureError: The asset is no picture.
            AssetFileMissingError: Its file is gone.
            PictureError: Its file does not decode.
        """
        if not is_picture(asset):
            raise NoPictureError(asset.rel_path)
        source = file_of(store, asset)
        key = thumbnail_key(asset.sha256 or str(asset.id), size_px)
        tag = thumbnail_tag(asset, size_px)
        if asset.sha256:
            try:
                return Thumbnail(await store.get(key, limit_bytes=_LARGEST_BYTES), tag)
            except ObjectNotFoundError:
                pass
        place = f"{store.location}/{key}"
        making = self._making.get(place)
        if making is None:
            making = asyncio.create_task(self._make(store, asset, source.key, key, size_px))
            self._making[place] = making
            making.add_done_callback(lambda _: self._making.pop(place, None))
        # One who leaves does not take it away from the others.
        return Thumbnail(await asyncio.shield(making), tag)

    async def _make(self, store: ObjectStore, asset: Asset, source_key: str, key: str, size_px: int) -> bytes:
        async with self._places:
            try:
                data = await store.get(source_key, limit_bytes=MAX_BYTES)
            except ObjectNotFoundError:
                raise AssetFileMissingError(asset.rel_path) from None
            small = await self._cpu.run(thumbnail, data, size_px, name=source_key)
            is_as_recorded = await asyncio.to_thread(_has_hash, data, asset.sha256)
        if is_as_recorded:
            await self._keep(store, key, small)
        return small

    async def _keep(self, store: ObjectStore, key: str, small: bytes) -> None:
        try:
            await store.put(key, small)
        except InfraError as exc:  # a full disk is no reason not to show a picture
            log.warning("library.thumbnail_not_kept", key=key, reason=exc.message)


def _has_hash(data: bytes, sha256: str | None) -> bool:
    # A file that was changed by hand has no thumbnail under the old one's name.
    return bool(sha256) and hashlib.sha256(data).hexdigest() == sha256
