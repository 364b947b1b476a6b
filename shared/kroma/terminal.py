r"""Text of strangers on a terminal: file names, object keys, labels, errors of other programs.

A terminal obeys control characters. What could move its cursor, set its title, type into its shell or turn a
line round is shown instead: ``\x1b``, ``\x9b``, ``\u202e``.
"""

import re
import sys
from typing import Any, Final, cast

import msgspec

_LINE_ENDS: Final = "\n\t"
_UNSEEN: Final = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of writing round
    "\u2028\u2029\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # line ends and marks that nobody sees
    "\ud800-\udfff"  # half a character, as bytes of a file name that are no UTF-8 become
    "]"
)


def visible(text: str, *, lines: bool = False) -> str:
    """A text with its control characters escaped.

    Args:
        text: From anywhere.
        lines: Whether line ends and tabs are its own, as in a traceback, and stay.
    """
    return _UNSEEN.sub(lambda found: _kept(found[0]) if lines else _escaped(found[0]), text)


def json_text(value: object, encoder: msgspec.json.Encoder | None = None) -> str:
    """A value as JSON that is safe to show: the same value, with an escape for what nobody sees."""
    encoder = encoder or msgspec.json.Encoder()
    try:
        encoded = encoder.encode(value)
    except UnicodeEncodeError:  # half a character has no place in JSON
        encoded = encoder.encode(_whole(msgspec.to_builtins(value, enc_hook=repr)))
    text = encoded.decode()
    return text if text.isascii() and "\x7f" not in text else _UNSEEN.sub(_json_escape, text)


def refuse(program: str, problem: str) -> None:
    """The one line on standard error of a program that does not start."""
    sys.stderr.write(f"{program}: {visible(problem)}\n")


def _kept(character: str) -> str:
    return character if character in _LINE_ENDS else _escaped(character)


def _escaped(character: str) -> str:
    number = ord(character)
    if number <= 0xFF:  # noqa: PLR2004 - two hexadecimal digits
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"  # noqa: PLR2004 - four


def _json_escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _whole(value: object) -> Any:  # noqa: ANN401 - any JSON
    match value:
        case str():
            return re.sub("[\ud800-\udfff]", lambda found: _escaped(found[0]), value)
        case dict():
            return {_whole(name): _whole(inner) for name, inner in cast("dict[Any, object]", value).items()}
        case list():
            return [_whole(inner) for inner in cast("list[object]", value)]
        case _:
            return value
