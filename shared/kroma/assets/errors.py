"""What can go wrong with assets and their links."""

from kroma.errors import ConflictError, InvalidRequestError, NotFoundError


class AssetNotFoundError(NotFoundError):
    """The project has no such asset, or does not exist itself."""

    text = "Asset not found"


class AssetLinkNotFoundError(NotFoundError):
    """The project has no such asset link, or does not exist itself."""

    text = "Asset link not found"


class SameEndsError(InvalidRequestError):
    """A link would lead from an asset to itself."""

    text = "parent_asset_id and child_asset_id must differ"


class ForeignAssetError(InvalidRequestError):
    """A link names an asset that its project does not have."""

    def __init__(self, asset_id: str) -> None:
        super().__init__(f"Asset '{asset_id}' was not found in this project")


class AssetLinkExistsError(ConflictError):
    """The project has a link of this type between these assets."""

    text = "Asset link already exists"
