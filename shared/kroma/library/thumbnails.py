"""Thumbnails: made once, kept in the project's store, made again when they are missing."""

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from kroma.assets.models import Asset
from kroma.cpu import CpuPool, remote
from kroma.errors import KromaError
from kroma.imaging.header import MAX_BYTES
from kroma.library.content import current_file, is_picture
from kroma.library.deduplication import find_key
from kroma.library.errors import AssetFileMissingError, NoPictureError
from kroma.storage.base import ObjectStore
from kroma.storage.checksums import sha256_of
from kroma.storage.errors import ObjectNotFoundError, ObjectTooLargeError
from kroma.storage.keys import thumbnail_key

if TYPE_CHECKING:
    from kroma.imaging.thumbnail import thumbnail
else:
    thumbnail = remote("kroma.imaging.thumbnail").thumbnail

log = structlog.get_logger(__name__)

SIZES_PX: Final = (64, 128, 256, 512, 1024)
"""Of the longer side."""
DEFAULT_SIZE_PX: Final = 256
_LARGEST_BYTES: Final = 8 * 1024**2


class Thumbnail(NamedTuple):
    """A WebP of the asset's picture."""

    data: bytes
    tag: str
    keeping: asyncio.Task[None] | None = None
    """Ends when a new one is in the store, for the next who asks: nobody needs to wait for it."""


class _Making(NamedTuple):
    drawn: asyncio.Task[Thumbnail]
    kept: asyncio.Task[None]


def thumbnail_tag(sha256: str, size_px: int) -> str:
    """The entity tag of a thumbnail of the picture with this SHA-256."""
    return f'"{sha256}-{size_px}"'


class Thumbnails:
    """Makes thumbnails; of many who ask for one at the same time, one waits for the work and all get it."""

    def __init__(self, cpu: CpuPool) -> None:
        self._cpu = cpu
        self._making: dict[str, _Making] = {}

    async def get(self, store: ObjectStore, asset: Asset, size_px: int) -> Thumbnail:
        """The thumbnail of an asset's file as it is now; one that was edited is drawn each time.

        Raises:
            NoPictureError: The asset is no picture.
            AssetFileMissingError: Its file is gone.
            PictureError: Its file does not decode.
        """
        if not is_picture(asset):
            raise NoPictureError(asset.rel_path)
        kept = None if asset.sha256 is None else await _keep_drawn(store, asset.sha256, size_px)
        if kept is not None and (await current_file(store, asset)).sha256 == asset.sha256:
            return kept
        position = f"{store.location}/{asset.id}_{size_px}"
        making = self._making.get(position)
        if making is None:
            drawn = asyncio.create_task(self._draw(store, asset, size_px))
            keeping = asyncio.create_task(_keep(drawn, store, asset, size_px))
            making = self._making[position] = _Making(drawn, keeping)
            keeping.add_done_callback(lambda _: self._making.pop(position, None))
        # One who leaves does not take it away from the others.
        small = await asyncio.shield(making.drawn)
        return small._replace(keeping=making.kept)

    async def _draw(self, store: ObjectStore, asset: Asset, size_px: int) -> Thumbnail:
        key = find_key(store, asset.rel_path)
        async with self._cpu.room((key and await store.size(key)) or 0):
            try:
                data = await store.get(key or "", limit_bytes=MAX_BYTES)
            except ObjectNotFoundError:
                raise AssetFileMissingError(asset.rel_path) from None
            drawing = self._cpu.run(thumbnail, data, size_px, name=asset.rel_path)
            sha256, small = await asyncio.gather(sha256_of(data), drawing)
        return Thumbnail(small, thumbnail_tag(sha256, size_px))


async def _keep_drawn(store: ObjectStore, sha256: str, size_px: int) -> Thumbnail | None:
    try:
        data = await store.get(thumbnail_key(sha256, size_px), limit_bytes=_LARGEST_BYTES)
    except (ObjectNotFoundError, ObjectTooLargeError):
        return None
    if not (data.startswith(b"RIFF") and data[8:12] == b"WEBP"):
        return None  # somebody laid something else there: it is made again
    return Thumbnail(data, thumbnail_tag(sha256, size_px))


async def _keep(drawn: asyncio.Task[Thumbnail], store: ObjectStore, asset: Asset, size_px: int) -> None:
    await asyncio.wait([drawn])
    # Those who asked are told what failed; what was changed by hand has no place under the old hash.
    if drawn.exception() is not None or drawn.result().tag != thumbnail_tag(asset.sha256 or "", size_px):
        return
    key = thumbnail_key(asset.sha256 or "", size_px)
    try:
        await store.put(key, drawn.result().data)
    except KromaError as exc:  # a full disk is no reason not to show a picture
        log.warning("library.thumbnail_not_kept", key=key, reason=exc.message)
