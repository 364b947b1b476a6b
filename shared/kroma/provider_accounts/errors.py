"""What can go wrong with provider accounts."""

from kroma.errors import NotFoundError


class ProviderAccountNotFoundError(NotFoundError):
    """The project has no account of this code, or does not exist itself."""

    text = "Provider account not found"
