"""Finding the JSON in what a chat model answered (contract 3.6, parsing)."""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, cast

import msgspec

from kroma.bootstrap.errors import AnswerNotSettingsError, BlankAnswerError, NoJsonFoundError
from kroma.bootstrap.inputs import SECTIONS
from kroma.json_depth import refuse_too_deep

_FENCE: Final = "```"
_RELEVANT: Final = frozenset({"settings", *SECTIONS})

_MOST_STARTS: Final = 10_000
"""Braces at which an object is looked for; nobody's prose has more of them."""
# An object starts with a key or ends at once; what else follows a brace is prose.
_START: Final = re.compile(r'\{(?=[ \t\r\n]*+["}])')
_TOKEN: Final = re.compile(
    r"""[ \t\r\n]*+(?:
      (?P<string>"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+")
    | (?P<mark>[{}\[\]:,])
    | (?P<atom>true|false|null|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)
    )""",
    re.VERBOSE,
)

_CLOSING: Final = {"{": "}", "[": "]"}
_VALUES: Final = frozenset({"{", "[", "string", "atom"})
_ALLOWED: Final = {
    "value": _VALUES,
    "value or end": _VALUES | {"]"},
    "key": frozenset({"string"}),
    "key or end": frozenset({"string", "}"}),
    "colon": frozenset({":"}),
    "comma or end": frozenset({",", "}", "]"}),
}


def read_answer(text: str) -> dict[str, Any]:
    """The JSON object of an answer: the whole of it, what its fence holds, or one among prose.

    Of several objects in prose the first with a section or ``settings`` counts, else the first.
    Takes time in proportion to the text, however it is nested.

    Raises:
        BlankAnswerError: There is no text.
        NoJsonFoundError: Nothing in it is JSON.
        AnswerNotSettingsError: It is JSON, but no object.
    """
    trimmed = text.strip()
    if not trimmed:
        raise BlankAnswerError
    for candidate in (trimmed, _unfenced(trimmed)):
        try:
            refuse_too_deep(candidate.encode(errors="surrogatepass"))
            value = msgspec.json.decode(candidate)
        except (ValueError, RecursionError):
            continue
        if not isinstance(value, dict):
            raise AnswerNotSettingsError
        return cast("dict[str, Any]", value)
    first: dict[str, Any] | None = None
    for found in _objects(trimmed):
        if not _RELEVANT.isdisjoint(found):
            return found
        first = found if first is None else first
    if first is None:
        raise NoJsonFoundError
    return first


def _unfenced(text: str) -> str:
    if not text.startswith(_FENCE):
        return ""
    lines = text.splitlines()[1:]
    if lines and lines[-1].strip() == _FENCE:
        lines.pop()
    return "\n".join(lines).strip()


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The objects that stand in a text, none inside another, in order."""
    ends: dict[int, int | None] = {}
    position = 0
    for _ in range(_MOST_STARTS):
        start = _START.search(text, position)
        if start is None:
            return
        brace = start.start()
        if brace not in ends:
            _note_ends(text, brace, ends)
        end = ends.pop(brace)
        position = brace + 1 if end is None else end
        if end is not None:
            with suppress(ValueError, RecursionError):
                refuse_too_deep(text[brace:end].encode(errors="surrogatepass"))
                yield msgspec.json.decode(text[brace:end])


def _note_ends(text: str, start: int, ends: dict[int, int | None]) -> None:
    """Read JSON from a brace until it is complete or wrong.

    Every brace met is noted with the end of its object, or None if that never came: none is read
    again from the same side of a quote, which is why all readings together stay linear.
    """
    opened: list[int] = []
    expected = "value"
    position = start
    while (token := _TOKEN.match(text, position)) is not None:
        position = token.end()
        kind = token["mark"] or ("string" if token["string"] else "atom")
        if kind not in _ALLOWED[expected]:
            return
        if kind in {"{", "["}:
            opened.append(position - 1)
            if kind == "{":
                ends[position - 1] = None
        elif kind in {"}", "]"}:
            brace = opened.pop()
            if _CLOSING[text[brace]] != kind:
                return
            if kind == "}":
                ends[brace] = position
            if not opened:
                return
        expected = _expected_after(kind, expected, within=text[opened[-1]])


def _expected_after(kind: str, expected: str, *, within: str) -> str:
    match kind:
        case "{":
            return "key or end"
        case "[":
            return "value or end"
        case ":":
            return "value"
        case ",":
            return "key" if within == "{" else "value"
        case "string" if expected in {"key", "key or end"}:
            return "colon"
        case _:
            return "comma or end"
