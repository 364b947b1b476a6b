"""Rules of the contract (1.3, 1.4, 1.7) for given fields that every resource shares."""

from typing import Final

from msgspec import UnsetType

from kroma.errors import FieldRequiredError, InvalidRequestError, NothingGivenError

MAX_NAME_CHARACTERS: Final = 200
"""Names, codes and slugs stand in unique indexes, in paths and in pictures' metadata."""


class TextTooLongError(InvalidRequestError):
    """A name, code or slug is longer than may be stored."""

    def __init__(self, field: str, limit: int) -> None:
        super().__init__(f"Field '{field}' must be at most {limit} characters")


class NulCharacterError(InvalidRequestError):
    """A text holds U+0000, which PostgreSQL cannot store."""

    def __init__(self, field: str) -> None:
        super().__init__(f"Field '{field}' must not contain the character U+0000")


def required_text(field: str, text: str | UnsetType | None) -> str:
    """The trimmed text.

    Raises:
        FieldRequiredError: It is missing or blank.
    """
    trimmed = text.strip() if isinstance(text, str) else ""
    if not trimmed:
        raise FieldRequiredError(field)
    return trimmed


def optional_text(text: str | None) -> str | None:
    """The trimmed text; None when it is missing or blank, as it is stored."""
    return (text or "").strip() or None


def name_text(field: str, text: str) -> str:
    """``text`` again, short enough for a name, code or slug.

    Raises:
        TextTooLongError: It is not.
    """
    if len(text) > MAX_NAME_CHARACTERS:
        raise TextTooLongError(field, MAX_NAME_CHARACTERS)
    return text


def required_name(text: str | UnsetType | None, *, field: str = "name") -> str:
    """The trimmed name.

    Raises:
        FieldRequiredError: It is missing or blank.
        TextTooLongError: It is too long.
    """
    return name_text(field, required_text(field, text))


def require_any(**fields: object) -> None:
    """Refuse a change that changes nothing; None is a field that was not given.

    Raises:
        NothingGivenError: None of the fields is given; it names them in this order.
    """
    if all(value is None for value in fields.values()):
        raise NothingGivenError(*fields)
