"""Reads a picture's format and size from its first and last bytes, without decoding it.

The API calls this for every scene of a plan, so it imports no picture library.
"""

import re
import struct
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final, Literal

import msgspec

from kroma.imaging.errors import PictureTooLargeError, TruncatedPictureError, UnreadablePictureError

IMAGE_EXTENSIONS: Final = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff")
MAX_PIXELS: Final = 64_000_000
MAX_BYTES: Final = 64 * 1024 * 1024
HEAD_BYTES: Final = 256 * 1024
"""Size of the file's start that ``inspect_header`` reads."""
TAIL_BYTES: Final = 64 * 1024
"""Size of the file's end that it reads."""
MAX_SCAN_PIXELS: Final = 20 * MAX_PIXELS
"""Scans of a JPEG times its pixels: a scan takes 1.1 ms per megapixel, however few bytes it has, so 1.4 s.

No known encoder writes more than 18 scans, and up to 12.8 megapixels 100 are allowed.
"""
MAX_JPEG_SEGMENTS: Final = 16_384
MAX_PNG_CHUNKS: Final = 65_536
"""Each takes Pillow 18 microseconds, so 1.2 s; 64 MiB in the usual chunks of 8 KiB are 8,192."""
MAX_PNG_PROFILES: Final = 16
"""A valid PNG has one; each may be a thousand times larger uncompressed."""

Format = Literal["PNG", "JPEG", "WEBP", "BMP", "TIFF"]
MIME_TYPES: Final[dict[Format, str]] = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}
EXTENSIONS: Final = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/bmp": "bmp",
    "image/tiff": "tif",
}

_FOREIGN: Final = (
    (b"GIF8", "it is a GIF"),
    (b"%PDF", "it is a PDF"),
    (b"8BPS", "it is a Photoshop file"),
    (b"<svg", "it is an SVG"),
    (b"PK\x03\x04", "it is a ZIP archive"),
)
# SOF0 to SOF15 without DHT, JPG and DAC, which share the range.
_JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_SCAN: Final = 0xDA
_JPEG_END: Final = 0xD9
# Any marker that may end a scan's data; skips escaped 0xFF bytes and restart markers.
_JPEG_NEXT: Final = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
_JPEG_BLOCK_PX: Final = 16
_TIFF_WIDTH: Final = 256
_TIFF_HEIGHT: Final = 257
_TIFF_BITS: Final = 258
_TIFF_SAMPLES: Final = 277
_TIFF_READ: Final = frozenset({_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS, _TIFF_SAMPLES})
_TIFF_INTEGERS: Final = {1: "B", 3: "H", 4: "I", 16: "Q"}
_BMP_CORE_HEADER: Final = 12


class PictureHeader(msgspec.Struct, frozen=True):
    """A picture's format and its size in pixels as stored, before any EXIF rotation."""

    format: Format
    mime_type: str
    width: int
    height: int


class AcceptedPicture(msgspec.Struct, frozen=True, kw_only=True):
    """An uploaded picture that may be stored."""

    header: PictureHeader
    """Of the stored file."""
    sent: PictureHeader
    """Of the uploaded file."""
    extension: str
    """Of the stored file, without a dot."""
    converted: bytes | None
    """The file to store; None if it is the uploaded one."""


class _Bytes:
    """The known parts of a file: its start and its end."""

    def __init__(self, head: bytes, tail: bytes, size_bytes: int, name: str) -> None:
        self.head = head
        self.tail = tail
        self.size_bytes = size_bytes
        self.name = name

    def read(self, layout: str, offset: int) -> tuple[int, ...]:
        """Unpack numbers at an offset of the file; raises an error if they are not in a known part."""
        end = offset + struct.calcsize(layout)
        if end > self.size_bytes:
            raise TruncatedPictureError(self.name, f"its header ends at byte {self.size_bytes}")
        if end <= len(self.head):
            return struct.unpack_from(layout, self.head, offset)
        start_of_tail = self.size_bytes - len(self.tail)
        if offset >= start_of_tail:
            return struct.unpack_from(layout, self.tail, offset - start_of_tail)
        raise UnreadablePictureError(self.name, "its header is too deep inside the file")

    def ends_with_marker(self, marker: bytes, *, after: int) -> bool:
        """Whether ``marker`` occurs in the file's end, at ``after`` or later."""
        start_of_tail = self.size_bytes - len(self.tail)
        return self.tail.find(marker, max(0, after - start_of_tail)) >= 0


def has_image_extension(name: str) -> bool:
    """Whether a file name has a picture's extension, in any case."""
    return PurePosixPath(name).suffix.lower().removeprefix(".") in IMAGE_EXTENSIONS


def inspect_header(head: bytes, tail: bytes, size_bytes: int, *, name: str) -> PictureHeader:
    """Format and size of a picture, from up to its first 256 KiB and its last 64 KiB.

    Raises:
        UnreadablePictureError: It is not a picture, in an unsupported format, or has no pixels.
        TruncatedPictureError: Its end marker is missing.
        PictureTooLargeError: It is over 64 MiB or 64 megapixels.
    """
    if size_bytes == 0:
        raise UnreadablePictureError(name, "the file is empty")
    if size_bytes > MAX_BYTES:
        raise PictureTooLargeError(name, f"{size_bytes / 1024**2:.1f} MiB", "64 MiB")
    data = _Bytes(head, tail, size_bytes, name)
    found, size = _reader_of(data)
    width, height = size(data)
    if width <= 0 or height <= 0:
        raise UnreadablePictureError(name, f"its header has a size of {width}x{height} pixels")
    if width * height > MAX_PIXELS:
        raise PictureTooLargeError(name, f"{width}x{height} pixels", "64 megapixels")
    return PictureHeader(found, MIME_TYPES[found], width, height)


def inspect(data: bytes, *, name: str) -> PictureHeader:
    """``inspect_header`` of a whole file; also refuses too many scans, segments or chunks.

    Even a small file can take long to decode: a JPEG scan visits all pixels, and each PNG chunk takes time.

    Raises:
        PictureError: As ``inspect_header``.
    """
    header = inspect_header(data, data, len(data), name=name)
    if header.format == "JPEG":
        _check_scans(data, header, name)
    elif header.format == "PNG":
        _check_chunks(data, name)
    return header


def _check_scans(data: bytes, header: PictureHeader, name: str) -> None:
    """Refuse a JPEG with more scans than its size allows."""
    across, down = (-(-side // _JPEG_BLOCK_PX) * _JPEG_BLOCK_PX for side in (header.width, header.height))
    limit = MAX_SCAN_PIXELS // (across * down)
    # A quick upper bound, since embedded previews and videos contain scan markers, too.
    if data.count(bytes([0xFF, _JPEG_SCAN])) <= min(limit, MAX_JPEG_SEGMENTS):
        return
    scans = _jpeg_scans(data, name)
    if scans > limit:
        size = f"{scans} scans of {header.width}x{header.height} pixels"
        raise PictureTooLargeError(name, size, f"{limit} at this size")


def _jpeg_scans(data: bytes, name: str) -> int:
    """The number of scans before the end marker."""
    offset, scans = 2, 0
    for _ in range(MAX_JPEG_SEGMENTS):
        found = _JPEG_NEXT.search(data, offset)
        if found is None or found[1][0] == _JPEG_END:
            return scans
        scans += found[1][0] == _JPEG_SCAN
        offset = found.end() + max(2, int.from_bytes(data[found.end() : found.end() + 2]))
    raise PictureTooLargeError(name, "it has too many JPEG segments", f"{MAX_JPEG_SEGMENTS:,}")


def _check_chunks(data: bytes, name: str) -> None:
    """Refuse a PNG with too many chunks or profiles."""
    offset, profiles = 8, 0
    for _ in range(MAX_PNG_CHUNKS):
        kind = data[offset + 4 : offset + 8]
        if kind in {b"", b"IEND"}:
            return
        profiles += kind == b"iCCP"
        if profiles > MAX_PNG_PROFILES:
            raise PictureTooLargeError(name, "it has too many color profiles", f"{MAX_PNG_PROFILES}")
        offset += 12 + int.from_bytes(data[offset : offset + 4])
    raise PictureTooLargeError(name, "it has too many PNG chunks", f"{MAX_PNG_CHUNKS:,}")


def _reader_of(data: _Bytes) -> tuple[Format, Callable[[_Bytes], tuple[int, int]]]:
    head = data.head
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG", _png_size
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG", _jpeg_size
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP", _webp_size
    if head.startswith(b"BM"):
        return "BMP", _bmp_size
    if head[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}:
        return "TIFF", _tiff_size
    problem = next((text for magic, text in _FOREIGN if head.startswith(magic)), "it is not a picture")
    raise UnreadablePictureError(data.name, problem)


def _png_size(data: _Bytes) -> tuple[int, int]:
    if data.size_bytes >= 16 and data.head[12:16] != b"IHDR":  # noqa: PLR2004 - where the first chunk's name ends
        raise UnreadablePictureError(data.name, "it is a PNG without a header")
    width, height = data.read(">II", 16)
    if not data.ends_with_marker(b"IEND", after=33):
        raise TruncatedPictureError(data.name, "the PNG's end is missing")
    return width, height


def _jpeg_size(data: _Bytes) -> tuple[int, int]:
    """Read the frame header, then look for the end marker after the first scan."""
    size: tuple[int, int] | None = None
    offset = 2
    for _ in range(MAX_JPEG_SEGMENTS):
        lead, marker = data.read("BB", offset)
        if lead != 0xFF:  # noqa: PLR2004 - the first byte of every JPEG marker
            raise UnreadablePictureError(data.name, "its JPEG segments are damaged")
        if marker == 0xFF or marker in _JPEG_ALONE:  # noqa: PLR2004 - a fill byte
            offset += 1 if marker == 0xFF else 2  # noqa: PLR2004
            continue
        if marker in _JPEG_FRAMES:
            height, width = data.read(">HH", offset + 5)
            size = width, height
        (length,) = data.read(">H", offset + 2)
        offset += 2 + length
        if marker == _JPEG_SCAN:
            break
    else:
        raise PictureTooLargeError(data.name, "it has too many JPEG segments", f"{MAX_JPEG_SEGMENTS:,}")
    if size is None:
        raise UnreadablePictureError(data.name, "it is a JPEG without a frame")
    if not data.ends_with_marker(b"\xff\xd9", after=offset):
        raise TruncatedPictureError(data.name, "the JPEG's end is missing")
    return size


def _webp_size(data: _Bytes) -> tuple[int, int]:
    (riff_bytes,) = data.read("<I", 4)
    if riff_bytes + 8 > data.size_bytes:
        raise TruncatedPictureError(data.name, f"it has {data.size_bytes} of {riff_bytes + 8} bytes")
    kind = data.head[12:16]
    if kind == b"VP8 ":
        width, height = data.read("<HH", 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = data.read("<I", 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        w0, w1, w2, h0, h1, h2 = data.read("6B", 24)
        return (w0 | w1 << 8 | w2 << 16) + 1, (h0 | h1 << 8 | h2 << 16) + 1
    raise UnreadablePictureError(data.name, "it is a WebP without a picture")


def _bmp_size(data: _Bytes) -> tuple[int, int]:
    (pixels_at,) = data.read("<I", 10)
    (header_bytes,) = data.read("<I", 14)
    if header_bytes == _BMP_CORE_HEADER:
        width, height, _, depth = data.read("<HHHH", 18)
        compression = 0
    else:
        width, height, _, depth, compression = data.read("<iiHHI", 18)
    height = abs(height)  # negative: rows from the top
    row_bytes = (width * depth + 31) // 32 * 4
    if compression == 0 and pixels_at + row_bytes * height > data.size_bytes and width * height <= MAX_PIXELS:
        raise TruncatedPictureError(data.name, f"its pixels need {pixels_at + row_bytes * height} bytes")
    return width, height


def _tiff_size(data: _Bytes) -> tuple[int, int]:
    """The first directory's width and height; TIFF and BigTIFF, either byte order."""
    order = "<" if data.head.startswith(b"II") else ">"
    big = data.head[2:4] in {b"+\0", b"\0+"}
    (directory,) = data.read(order + ("Q" if big else "I"), 8 if big else 4)
    (count,) = data.read(order + ("Q" if big else "H"), directory)
    entry, entry_bytes, value_at = (directory + 8, 20, 12) if big else (directory + 2, 12, 8)
    found: dict[int, int] = {}
    for index in range(min(count, 4096)):
        at = entry + index * entry_bytes
        tag, kind = data.read(order + "HH", at)
        if tag in _TIFF_READ and kind in _TIFF_INTEGERS:
            (found[tag],) = data.read(order + _TIFF_INTEGERS[kind], at + value_at)
    if _TIFF_WIDTH not in found or _TIFF_HEIGHT not in found:
        raise UnreadablePictureError(data.name, "its TIFF directory has no size")
    if found.get(_TIFF_SAMPLES) == 2 and found.get(_TIFF_BITS) == 16:  # noqa: PLR2004 - neither Pillow nor OpenCV reads it
        raise UnreadablePictureError(data.name, "16-bit gray TIFFs with alpha are not supported")
    return found[_TIFF_WIDTH], found[_TIFF_HEIGHT]
