"""Text chunks of a PNG, added and read without touching its pixels (PNG specification, section 11.3)."""

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Final

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
MAX_KEYWORD: Final = 79


def chunk(kind: bytes, body: bytes) -> bytes:
    """One PNG chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_metadata(png: bytes, metadata: Mapping[str, str]) -> bytes:
    """The same PNG with one UTF-8 text chunk per entry; an entry it already had is replaced.

    Keywords are Latin-1 of 1 to 79 characters, as the format wants.

    Raises:
        ValueError: The bytes are no PNG, or a keyword does not fit the format.
    """
    texts = b"".join(_text_chunk(keyword, text) for keyword, text in metadata.items())
    kept: list[bytes] = []
    placed = False
    for kind, body in _chunks(png):
        if kind in {b"tEXt", b"zTXt", b"iTXt"} and body.partition(b"\0")[0].decode("latin-1") in metadata:
            continue
        if kind == b"IDAT" and not placed:
            kept.append(texts)
            placed = True
        kept.append(chunk(kind, body))
    return SIGNATURE + b"".join(kept)


def _text_chunk(keyword: str, text: str) -> bytes:
    encoded = keyword.encode("latin-1")
    if not 1 <= len(encoded) <= MAX_KEYWORD or "\0" in keyword:
        raise ValueError(keyword)
    # No compression, no language tag, no translated keyword.
    return chunk(b"iTXt", encoded + b"\0\0\0\0\0" + text.replace("\0", "").encode())


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not png.startswith(SIGNATURE):
        raise ValueError("no PNG")
    offset = len(SIGNATURE)
    while offset + 12 <= len(png):
        (length,) = struct.unpack_from(">I", png, offset)
        kind = png[offset + 4 : offset + 8]
        yield kind, png[offset + 8 : offset + 8 + length]
        offset += 12 + length
        if kind == b"IEND":
            return
