"""How deeply JSON from outside may be nested.

A decoder that starts near the top of the stack takes deeper values than an encoder that runs far below it, so
what was accepted could not be stored. The bound is far from what either takes.
"""

import re
from typing import Final

MAX_DEPTH: Final = 128
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[][{}]', re.DOTALL)


def refuse_too_deep(raw: bytes) -> None:
    """Pass JSON that is nested at most ``MAX_DEPTH`` levels, in linear time.

    Raises:
        RecursionError: It is nested more deeply, as a decoder says where its stack ends.
    """
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for token in _TOKEN.finditer(raw):
        match raw[token.start()]:
            case 0x5B | 0x7B:  # [ {
                depth += 1
                if depth > MAX_DEPTH:
                    msg = f"JSON is nested more than {MAX_DEPTH} levels deep"
                    raise RecursionError(msg)
            case 0x5D | 0x7D:  # ] }
                depth -= 1
            case _:
                pass
