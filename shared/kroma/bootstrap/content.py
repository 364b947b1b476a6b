"""What the sections hold, and when two names or two contents are the same."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from string import ascii_lowercase, ascii_uppercase
from typing import Any, Final, Generic, TypeVar, cast
from uuid import UUID

import msgspec

_LOWER: Final = str.maketrans(ascii_uppercase, ascii_lowercase)

Content_co = TypeVar("Content_co", covariant=True)


class ProviderAccount(msgspec.Struct, frozen=True):
    """How a provider is reached; its key is the code."""

    provider_code: str
    display_name: str
    account_ref: str | None
    base_url: str | None
    enabled: bool
    config_json: Any


class StyleGuide(msgspec.Struct, frozen=True):
    """How the pictures should look."""

    name: str
    instructions: str
    notes: str | None


class Character(msgspec.Struct, frozen=True):
    """Someone who appears in the pictures."""

    name: str
    description: str | None
    prompt_text: str | None


class Item(msgspec.Struct, frozen=True):
    """One reference."""

    label: str
    content_uri: str | None
    content_text: str | None
    sort_order: int
    metadata_json: Any


class Row(msgspec.Struct, Generic[Content_co], frozen=True, kw_only=True):
    """A content as it is stored."""

    id: UUID | None
    """None where the content's own code is the key."""
    content: Content_co
    created_at: datetime
    updated_at: datetime


class ReferenceSet(msgspec.Struct, frozen=True, kw_only=True):
    """A named collection of references, in their order."""

    name: str
    description: str | None
    items: tuple[Row[Item], ...]


class Secret(msgspec.Struct, frozen=True):
    """The name of a secret, and whether it has a value."""

    provider_code: str
    secret_name: str
    has_value: bool


class PromptTemplate(msgspec.Struct, frozen=True):
    """A named text."""

    name: str
    template_text: str


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The six sections of a project."""

    provider_accounts: list[Row[ProviderAccount]]
    style_guides: list[Row[StyleGuide]]
    characters: list[Row[Character]]
    reference_sets: list[Row[ReferenceSet]]
    secrets: list[Row[Secret]]
    prompt_templates: list[Row[PromptTemplate]]

    @property
    def count(self) -> int:
        sections = sum(len(getattr(self, name)) for name in self.__struct_fields__)
        return sections + sum(len(row.content.items) for row in self.reference_sets)


def key_of(content: object) -> str:
    """What a section is sorted by, and what its elements must not share."""
    match content:
        case ProviderAccount():
            return content.provider_code
        case Secret():
            return f"{content.provider_code}\0{content.secret_name}"
        case _:
            return name_key(cast("Any", content).name)


def exact_key(content: object) -> str:
    """The name as it is spelt, or the key where codes have one spelling only."""
    match content:
        case ProviderAccount() | Secret():
            return key_of(content)
        case _:
            return cast("Any", content).name


def name_key(name: str) -> str:
    """A name with ASCII letters in lower case."""
    return name.translate(_LOWER)


def matched(stored: Iterable[str], given: Iterable[str]) -> dict[str, str]:
    """Which stored name each given name means; a name without one makes a new row.

    It is the same name, else the only stored one that is equal in lower case.
    """
    exact = set(stored)
    alike: dict[str, list[str]] = defaultdict(list)
    for name in exact:
        alike[name_key(name)].append(name)
    found: dict[str, str] = {}
    for name in given:
        same = alike[name_key(name)]
        if name in exact:
            found[name] = name
        elif len(same) == 1:
            found[name] = same[0]
    return found


def same_content(left: object, right: object) -> bool:
    """Whether two contents say the same; ids and stamps do not count, nor does the order of JSON keys."""
    # Without recursion, since JSON columns may nest deeply.
    pending: list[tuple[Any, Any]] = [(left, right)]
    while pending:
        a, b = pending.pop()
        match a, b:
            case Row(), Row():
                pending.append((cast("Any", a).content, cast("Any", b).content))
            case msgspec.Struct(), msgspec.Struct():
                pending.extend((getattr(a, name), getattr(b, name)) for name in a.__struct_fields__)
            case dict(), dict():
                mine, other = cast("dict[str, Any]", a), cast("dict[str, Any]", b)
                if mine.keys() != other.keys():
                    return False
                pending.extend((mine[key], other[key]) for key in mine)
            case (list(), list()) | (tuple(), tuple()):
                ours, theirs = cast("list[Any]", a), cast("list[Any]", b)
                if len(ours) != len(theirs):
                    return False
                pending.extend(zip(ours, theirs, strict=True))
            case _:
                # True equals 1 in Python, not in JSON.
                if isinstance(a, bool) is not isinstance(b, bool) or a != b:
                    return False
    return True
