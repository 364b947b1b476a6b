"""Bodies of uploading and deleting assets."""

from typing import Self

import msgspec

from kroma.assets.models import Asset
from kroma.library.upload import KeptPicture, KeptUpload
from kroma_api.schemas.assets import AssetView
from kroma_api.schemas.reply import AuditId, DeletedResponse, OptionalId, Reply, shown_id


class UploadedAssetView(AssetView, frozen=True, kw_only=True):
    """What became of one file of an upload."""

    duplicate: bool
    """Whether the project had these bytes already: then this is the asset that was there, as it was."""
    reference_item_id: OptionalId
    """The item that shows it in the reference set of the upload."""

    @classmethod
    def of_kept(cls, kept: KeptPicture) -> Self:
        asset: Asset = kept.asset
        view = msgspec.structs.asdict(AssetView.of(asset))
        return cls(**view, duplicate=kept.is_duplicate, reference_item_id=shown_id(kept.item_id))


class UploadAssetsResponse(Reply, frozen=True, kw_only=True):
    """The assets of an upload, in the order of its files."""

    count: int
    assets: list[UploadedAssetView]
    audit_id: AuditId

    @classmethod
    def of(cls, kept: KeptUpload) -> Self:
        assets = [UploadedAssetView.of_kept(picture) for picture in kept.pictures]
        return cls(count=len(assets), assets=assets, audit_id=str(kept.audit_id))


class DeletedAssetResponse(DeletedResponse, frozen=True, kw_only=True):
    """The asset and its file are gone."""

    audit_id: AuditId
