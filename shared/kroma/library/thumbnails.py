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
    keeping: asyncio.Task[None] | None = None
    """Ends when a new one is in the store, for the next who asks: nobody needs to wait for it."""


class _Drawn(NamedTuple):
    data: bytes
    is_of_record: bool
    """Whether the file is what its row says: what was changed by hand has no place under the old hash."""


class _Making(NamedTuple):
    drawn: asyncio.Task[_Drawn]
    kept: asyncio.Task[None]


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
        self._making: dict[str, _Making] = {}

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
            drawn = asyncio.create_task(self._draw(store, asset, source.key, size_px))
            making = self._making[place] = _Making(drawn, asyncio.create_task(_keep(drawn, store, key)))
            making.kept.add_done_callback(lambda _: self._making.pop(place, None))
        # One who leaves does not take it away from the others.
        small = await asyncio.shield(making.drawn)
        return Thumbnail(small.data, tag, keeping=making.kept)

    async def _draw(self, store: ObjectStore, asset: Asset, source_key: str, size_px: int) -> _Drawn:
        async with self._places:
            try:
                data = await store.get(source_key, limit_bytes=MAX_BYTES)
            except ObjectNotFoundError:
                raise AssetFileMissingError(asset.rel_path) from None
            hashing = asyncio.to_thread(_has_hash, data, asset.sha256)
            drawing = self._cpu.run(thumbnail, data, size_px, name=source_key)
            is_of_record, small = await asyncio.gather(hashing, drawing)
        return _Drawn(small, is_of_record)


async def _keep(drawn: asyncio.Task[_Drawn], store: ObjectStore, key: str) -> None:
    await asyncio.wait([drawn])
    if drawn.exception() is not None or not drawn.result().is_of_record:
        return  # those who asked are told
    try:
        await store.put(key, drawn.result().data)
    except InfraError as exc:  # a full disk is no reason not to show a picture
        log.warning("library.thumbnail_not_kept", key=key, reason=exc.message)


def _has_hash(data: bytes, sha256: str | None) -> bool:
    return bool(sha256) and hashlib.sha256(data).hexdigest() == sha256
