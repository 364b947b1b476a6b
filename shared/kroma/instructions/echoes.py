"""What an agent may repeat of its request, and nobody else is to read."""

import re
from collections.abc import Iterable
from typing import Final, Self, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

HIDDEN: Final = "[hidden]"
_LEAST_CHARACTERS: Final = 6
"""Of a text in an address that is hidden: a shorter one is no secret, and stands in half of all words."""
_LEAST_IN_PATH: Final = 16
"""Of a segment, since addresses of webhooks have their secret there and others have words."""


class Echoes(msgspec.Struct, frozen=True):
    """Hides the secrets of a request in what its receiver says.

    An agent's address is a secret of the project: people put keys into its query and its path.
    """

    secrets: tuple[str, ...]
    """The longest first."""

    @classmethod
    def of(cls, url: str, *others: str | None) -> Self:
        """Those of an address, and others that were sent along."""
        found = {text for text in (*others, *_of_url(url)) if text}
        return cls(tuple(sorted(found, key=len, reverse=True)))

    def hide(self, text: str) -> str:
        if not self.secrets:
            return text
        return re.sub("|".join(map(re.escape, self.secrets)), HIDDEN, text)

    def hide_in(self, value: object) -> object:
        """A JSON value without them, at whatever depth."""
        match value:
            case str():
                return self.hide(value)
            case list():
                return [self.hide_in(inner) for inner in cast("list[object]", value)]
            case dict():
                fields = cast("dict[str, object]", value)
                return {self.hide(name): self.hide_in(inner) for name, inner in fields.items()}
            case _:
                return value


def _of_url(url: str) -> Iterable[str]:
    parts = urlsplit(url)
    texts = [parts.query, *(value for _, value in parse_qsl(parts.query))]
    yield from (text for text in texts if len(text) >= _LEAST_CHARACTERS)
    for segment in parts.path.split("/"):
        if len(segment) >= _LEAST_IN_PATH:
            yield segment
            yield unquote(segment)
