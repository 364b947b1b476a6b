"""What an asset's file is to a reader: its type, its tag, and how long it stays what it is."""

from pathlib import PurePosixPath
from typing import Final, NamedTuple

from kroma.assets.models import Asset, AssetKind
from kroma.imaging.header import MIME_TYPES
from kroma.library.errors import AssetFileMissingError
from kroma.library.known import UPLOADED_KINDS, find_key
from kroma.storage.base import ObjectStore

OPAQUE: Final = "application/octet-stream"
JSON: Final = "application/json"
_SHOWN: Final = frozenset(MIME_TYPES.values())
_BY_SUFFIX: Final = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
_HASH_CHARACTERS: Final = 12


class AssetFile(NamedTuple):
    """An asset's file, as its row describes it."""

    key: str
    media_type: str
    """One of pictures, JSON of a run log, or one that no browser shows."""
    name: str
    """Of the file alone."""
    tag: str
    """An entity tag (RFC 9110); weak where nobody measured the file."""
    never_changes: bool
    """Whether the key is of these bytes alone; a person may edit any other file."""


def file_of(store: ObjectStore, asset: Asset) -> AssetFile:
    """How an asset is to be read.

    Raises:
        AssetFileMissingError: It lies outside the project, as old logs name some.
    """
    key = find_key(store, asset.rel_path)
    if key is None:
        raise AssetFileMissingError(asset.rel_path)
    name = PurePosixPath(key).name
    tag = f'"{asset.sha256}"' if asset.sha256 else f'W/"{asset.id}"'
    return AssetFile(key, media_type_of(asset), name, tag, _never_changes(asset, name))


def media_type_of(asset: Asset) -> str:
    """What a browser may take the file for: never HTML, SVG or a script."""
    if asset.kind == AssetKind.RUN_LOG:
        return JSON
    named = asset.mime_type or _BY_SUFFIX.get(PurePosixPath(asset.rel_path).suffix.lower(), OPAQUE)
    return named if named in _SHOWN else OPAQUE


def is_picture(asset: Asset) -> bool:
    """Whether there can be a thumbnail of it."""
    return media_type_of(asset) in _SHOWN


def _never_changes(asset: Asset, name: str) -> bool:
    if not asset.sha256:
        return False
    return asset.kind not in UPLOADED_KINDS or asset.sha256[:_HASH_CHARACTERS] in name


async def current_file(store: ObjectStore, asset: Asset) -> AssetFile:
    """How an asset is to be read now; a file that was edited since it was measured has a tag of its own.

    Raises:
        AssetFileMissingError: It is gone, or lies outside the project.
    """
    file = file_of(store, asset)
    if file.never_changes:
        return file
    size = await store.size(file.key)
    if size is None:
        raise AssetFileMissingError(asset.rel_path)
    is_as_recorded = asset.sha256 and size == asset.size_bytes
    return file if is_as_recorded else file._replace(tag=f'W/"{asset.id}-{size}"')
