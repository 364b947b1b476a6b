"""What can go wrong with pictures that come in, are shown or are taken away."""

from collections.abc import Sequence
from typing import Final

from kroma.errors import ConflictError, InvalidRequestError, NotFoundError

_SHOWN: Final = 5


class AssetFileMissingError(NotFoundError):
    """The row is there, its file is not."""

    def __init__(self, rel_path: str) -> None:
        super().__init__(f"The file of this asset, '{rel_path}', was not found in the project's store")


class NoPictureError(InvalidRequestError):
    """A thumbnail is asked of what is no picture."""

    def __init__(self, rel_path: str) -> None:
        super().__init__(f"'{rel_path}' is not a picture, so it has no thumbnail")


class AssetInUseError(ConflictError):
    """Something still refers to an asset."""

    def __init__(self, users: Sequence[str]) -> None:
        shown = "; ".join(users[:_SHOWN])
        more = "" if len(users) <= _SHOWN else f"; and {len(users) - _SHOWN} more"
        super().__init__(f"The asset is in use, so it was not deleted: {shown}{more}")
        self.users = tuple(users)
