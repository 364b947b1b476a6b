"""What can go wrong when reading assets."""

from kroma.errors import NotFoundError


class AssetNotFoundError(NotFoundError):
    """The project has no such asset, or does not exist itself."""

    def __init__(self) -> None:
        super().__init__("Asset")
