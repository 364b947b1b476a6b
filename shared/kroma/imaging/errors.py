from kroma.errors import InvalidRequestError


class PictureError(InvalidRequestError):
    """A picture cannot be used."""


class UnreadablePictureError(PictureError):
    """The data is not an intact picture in a supported format."""

    code = "unreadable_picture"

    def __init__(self, name: str, problem: str) -> None:
        remedy = "use a complete PNG, JPEG, WebP, BMP or TIFF file"
        super().__init__(f"Picture '{name}' cannot be read: {problem}; {remedy}")


class TruncatedPictureError(PictureError):
    """The picture ends early."""

    code = "truncated_picture"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"Picture '{name}' is truncated: {problem}; copy or upload the whole file again")


class PictureTooLargeError(PictureError):
    """The picture exceeds a limit."""

    code = "picture_too_large"

    def __init__(self, name: str, size: str, limit: str) -> None:
        super().__init__(f"Picture '{name}' is too large: {size}; the limit is {limit}")
