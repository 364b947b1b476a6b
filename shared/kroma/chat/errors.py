"""What can go wrong with chats."""

from kroma.errors import NotFoundError


class ChatSessionNotFoundError(NotFoundError):
    """The project has no such session, or does not exist itself."""

    def __init__(self) -> None:
        super().__init__("Chat session")
