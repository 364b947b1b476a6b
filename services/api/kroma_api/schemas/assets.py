"""Bodies of ``/api/projects/{slug}/assets``."""

from typing import Any, Self

from kroma.assets.models import Asset
from kroma_api.schemas.reply import (
    Id,
    ListReply,
    OptionalId,
    Reply,
    RowView,
    Stamp,
)


class AssetView(RowView, frozen=True, kw_only=True):
    """A kept picture."""

    id: Id
    project_id: Id
    kind: str
    """What it is in the making of pictures, like ``job_final_output``."""
    asset_kind: str
    """The same as ``kind``."""
    storage_uri: str
    """The location of the file, as it was stored."""
    rel_path: str
    """Its path below the project's root."""
    storage_backend: str
    """``local`` or ``s3``."""
    mime_type: str
    width: int | None
    """In pixels; null when unknown."""
    height: int | None
    """In pixels; null when unknown."""
    size_bytes: int | None
    """Null when unknown."""
    sha256: str
    """The file's checksum in hex, or empty."""
    run_id: OptionalId
    job_id: OptionalId
    candidate_id: OptionalId
    metadata_json: Any
    """Free, like how it was made."""
    created_at: Stamp

    @classmethod
    def of(cls, asset: Asset) -> Self:
        return cls.from_row(asset, asset_kind=asset.kind)


class ListAssetsResponse(ListReply, frozen=True, kw_only=True):
    """Assets, newest first."""

    assets: list[AssetView]


class AssetResponse(Reply, frozen=True, kw_only=True):
    """One asset."""

    asset: AssetView
