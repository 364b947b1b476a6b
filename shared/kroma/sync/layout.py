"""How a file lies in the bucket: whole, or in parts, and the ETag that S3 gives it then."""

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

MAX_PARTS: Final = 10_000
MAX_KEY_BYTES: Final = 1024
_MIB: Final = 1024**2


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Where large begins, and how large files are cut."""

    multipart_over: int = 64 * _MIB
    """A file of more bytes is sent in parts."""
    part_bytes: int = 16 * _MIB

    def is_large(self, size_bytes: int) -> bool:
        """Whether a file of this size is sent in parts."""
        return size_bytes > self.multipart_over

    def part_size(self, size_bytes: int) -> int:
        """Bytes of each part but the last: the usual, or as many as keep within 10,000 parts."""
        least = -(-size_bytes // MAX_PARTS)
        return max(self.part_bytes, -(-least // _MIB) * _MIB)

    def lengths(self, size_bytes: int) -> list[int]:
        """Bytes of every part; one where the file is sent whole."""
        if not self.is_large(size_bytes):
            return [size_bytes]
        usual = self.part_size(size_bytes)
        full, rest = divmod(size_bytes, usual)
        return [usual] * full + ([rest] if rest else [])

    def etag(self, size_bytes: int, md5s: Sequence[bytes]) -> str:
        """The ETag of an object whose parts have these MD5s."""
        if not self.is_large(size_bytes):
            return md5s[0].hex()
        return f"{hashlib.md5(b''.join(md5s), usedforsecurity=False).hexdigest()}-{len(md5s)}"


USUAL: Final = Layout()
