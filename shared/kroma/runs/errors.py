"""What can go wrong when reading runs."""

from kroma.errors import NotFoundError


class RunNotFoundError(NotFoundError):
    """The project has no such run, or does not exist itself."""

    def __init__(self) -> None:
        super().__init__("Run")


class RunLogNotFoundError(NotFoundError):
    """The run has no log yet."""

    def __init__(self) -> None:
        super().__init__("Run log")
