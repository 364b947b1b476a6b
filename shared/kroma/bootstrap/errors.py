"""What can go wrong with an import of settings."""

from collections.abc import Sequence
from typing import Final

import msgspec

from kroma.errors import ConflictError, FieldRequiredError, InvalidRequestError, NotFoundError

MAX_PROBLEMS: Final = 10_000
"""Told of one payload: a body of 2 MB can hold 600,000, and the answer had 140 MB."""
ITEMS_REQUIRED = "Field 'reference_sets[].items' is required (use [] to provide an empty set)"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with, or worth knowing of, the settings given."""

    section: str
    """Such as ``style_guides``; empty for the whole."""
    index: int | None
    """The element, counted from 0; null outside of lists."""
    field: str
    """Such as ``name`` or ``items[2].label``; empty for the whole element."""
    message: str


class SettingsRefusedError(InvalidRequestError):
    """The settings break rules; the message is the first one's, in the order of the checks."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems[0].message)
        self.problems = tuple(problems)


class NoSettingsSourceError(InvalidRequestError):
    """Neither structured settings nor an answer to read them from are given."""

    text = "Provide either 'settings' or 'ai_response_text'"


class BlankAnswerError(InvalidRequestError):
    """The pasted answer is blank."""

    text = "Field 'ai_response_text' must not be empty"


class NoJsonFoundError(InvalidRequestError):
    """The pasted answer holds no JSON."""

    text = "Field 'ai_response_text' contains no JSON object that can be parsed"


class AnswerNotSettingsError(InvalidRequestError):
    """The pasted answer is JSON, but no object."""

    text = "Field 'ai_response_text' must hold a JSON object with settings"


class ReferenceItemsRequiredError(FieldRequiredError):
    """A reference set comes without its items."""

    def __init__(self) -> None:
        super().__init__("reference_sets[].items")
        self.args = (ITEMS_REQUIRED,)


class ProjectInUseError(ConflictError):
    """Others changed the same rows again and again while the import ran."""

    text = "The project's settings changed during the import; import again"


class ImportNotFoundError(NotFoundError):
    """The project has no such import, or does not exist itself."""

    text = "Bootstrap import not found"


class ImportUndoneError(ConflictError):
    """The import was taken back before."""

    text = "Bootstrap import is already undone"


class SectionChangedError(ConflictError):
    """A section has changed since the import, so taking it back would lose that."""

    def __init__(self, sections: Sequence[str]) -> None:
        super().__init__(f"Bootstrap import cannot be undone; changed since: {', '.join(sections)}")
