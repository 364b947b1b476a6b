"""What can go wrong with characters."""

from kroma.errors import NameTakenError, NotFoundError


class CharacterNotFoundError(NotFoundError):
    """The project has no such character, or does not exist itself."""

    def __init__(self) -> None:
        super().__init__("Character")


class CharacterNameTakenError(NameTakenError):
    """Another character of the project has this name."""

    def __init__(self) -> None:
        super().__init__("Character")
