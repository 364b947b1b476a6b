"""Slugs: the form in which projects, users and providers are named in paths (contract 1.4)."""

import re
from typing import Final

from msgspec import UnsetType

from kroma.errors import FieldRequiredError

FALLBACK_SLUG: Final = "project"
_OTHER_CHARACTERS = re.compile("[^a-z0-9_-]+")


def normalized_slug(text: str) -> str | None:
    """The slug of a text, or None when nothing of it can be kept.

    >>> normalized_slug("Hero Book")
    'hero_book'
    """
    return _OTHER_CHARACTERS.sub("_", text.strip().lower()).strip("_") or None


def slug_of_name(name: str) -> str:
    """The slug of a project's name, which always has one."""
    return normalized_slug(name) or FALLBACK_SLUG


def provider_code(text: str | UnsetType | None) -> str:
    """The code of a provider, as it is stored and looked up.

    Raises:
        FieldRequiredError: It is missing, or nothing of it can be kept.
    """
    code = normalized_slug(text) if isinstance(text, str) else None
    if code is None:
        raise FieldRequiredError("provider_code")
    return code
