"""What can go wrong with reference sets and their items."""

from kroma.errors import NameTakenError, NotFoundError


class ReferenceSetNotFoundError(NotFoundError):
    """The project has no such reference set, or does not exist itself."""

    def __init__(self) -> None:
        super().__init__("Reference set")


class ReferenceSetNameTakenError(NameTakenError):
    """Another reference set of the project has this name."""

    def __init__(self) -> None:
        super().__init__("Reference set")


class ReferenceSetItemNotFoundError(NotFoundError):
    """The set has no such item, or does not exist itself."""

    def __init__(self) -> None:
        super().__init__("Reference set item")
