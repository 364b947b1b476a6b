"""What an asset's file is to a reader: its type, its checksum, and how long it stays what it is."""

from pathlib import PurePosixPath
from typing import Final, NamedTuple

from kroma.assets.models import Asset, AssetKind
from kroma.imaging.header import MIME_TYPES
from kroma.library.deduplication import UPLOADED_KINDS, find_key
from kroma.library.errors import AssetFileMissingError
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
    """An asset's file as it is now."""

    key: str
    media_type: str
    """One of pictures, JSON of a run log, or one that no browser shows."""
    name: str
    """Of the file alone."""
    sha256: str
    never_changes: bool
    """Whether the key is of these bytes alone, in a store whose files nobody edits."""


async def current_file(store: ObjectStore, asset: Asset) -> AssetFile:
    """How an asset is to be read; a file that was edited since it was measured is what it is now.

    Raises:
        AssetFileMissingError: It is gone, or lies outside the project, as old logs name some.
    """
    key = find_key(store, asset.rel_path)
    sha256 = None if key is None else await store.checksum(key)
    if key is None or sha256 is None:
        raise AssetFileMissingError(asset.rel_path)
    name = PurePosixPath(key).name
    is_of_one_content = asset.kind not in UPLOADED_KINDS or sha256[:_HASH_CHARACTERS] in name
    never_changes = store.backend == "s3" and sha256 == asset.sha256 and is_of_one_content
    return AssetFile(key, media_type_of(asset), name, sha256, never_changes)


def media_type_of(asset: Asset) -> str:
    """What a browser may take the file for: never HTML, SVG or a script."""
    if asset.kind == AssetKind.RUN_LOG:
        return JSON
    named = asset.mime_type or _BY_SUFFIX.get(PurePosixPath(asset.rel_path).suffix.lower(), OPAQUE)
    return named if named in _SHOWN else OPAQUE


def is_picture(asset: Asset) -> bool:
    """Whether there can be a thumbnail of it."""
    return media_type_of(asset) in _SHOWN
