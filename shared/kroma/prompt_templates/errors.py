"""What can go wrong with prompt templates."""

from kroma.errors import NameTakenError, NotFoundError


class PromptTemplateNotFoundError(NotFoundError):
    """The project has no such prompt template, or does not exist itself."""

    def __init__(self) -> None:
        super().__init__("Prompt template")


class PromptTemplateNameTakenError(NameTakenError):
    """Another prompt template of the project has this name."""

    def __init__(self) -> None:
        super().__init__("Prompt template")
