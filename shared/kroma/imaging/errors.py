"""What can be wrong with a picture; each message names the file and what would be right."""

from kroma.errors import InvalidRequestError


class PictureError(InvalidRequestError):
    """A picture cannot be used."""


class UnreadablePictureError(PictureError):
    """The bytes are no picture of a format we read."""

    code = "unreadable_picture"

    def __init__(self, name: str, problem: str) -> None:
        right = "give a whole PNG, JPEG, WebP, BMP or TIFF file"
        super().__init__(f"Picture '{name}' cannot be read: {problem}; {right}")


class TruncatedPictureError(PictureError):
    """The picture begins well and stops early."""

    code = "truncated_picture"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"Picture '{name}' is truncated: {problem}; copy or upload the whole file again")


class PictureTooLargeError(PictureError):
    """The picture is over a limit."""

    code = "picture_too_large"

    def __init__(self, name: str, size: str, limit: str) -> None:
        super().__init__(f"Picture '{name}' is too large: {size}; the limit is {limit}")
