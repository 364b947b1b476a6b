"""What can go wrong with provider accounts."""

from kroma.errors import NotFoundError


class ProviderAccountNotFoundError(NotFoundError):
    """The project has no account of this code, or does not exist itself."""

    def __init__(self) -> None:
        super().__init__("Provider account not found")
