"""How a file lies in the bucket: whole, or in parts, and the ETag that S3 gives it then."""

import hashlib
from collections.abc import Sequence
from typing import Final

MULTIPART_OVER: Final = 64 * 1024**2
"""A larger file is sent in parts."""
PART_BYTES: Final = 16 * 1024**2
MAX_PARTS: Final = 10_000
MAX_KEY_BYTES: Final = 1024
_MIB: Final = 1024**2


def part_size(size_bytes: int) -> int:
    """Bytes of each part but the last: the usual, or as many as keep within 10,000 parts."""
    least = -(-size_bytes // MAX_PARTS)
    return max(PART_BYTES, -(-least // _MIB) * _MIB)


def part_lengths(size_bytes: int) -> list[int]:
    """Bytes of every part of a file that is sent in parts."""
    usual = part_size(size_bytes)
    full, rest = divmod(size_bytes, usual)
    return [usual] * full + ([rest] if rest else [])


def whole_etag(parts: Sequence[bytes]) -> str:
    """The ETag of an object whose parts have these MD5s."""
    return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"
