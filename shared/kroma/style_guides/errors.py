"""What can go wrong with style guides."""

from kroma.errors import NameTakenError, NotFoundError


class StyleGuideNotFoundError(NotFoundError):
    """The project has no such style guide, or does not exist itself."""

    def __init__(self) -> None:
        super().__init__("Style guide")


class StyleGuideNameTakenError(NameTakenError):
    """Another style guide of the project has this name."""

    def __init__(self) -> None:
        super().__init__("Style guide")
