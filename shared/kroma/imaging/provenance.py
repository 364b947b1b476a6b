"""The record of how a picture was made, stored inside the picture and in a sidecar file beside it.

The record is JSON, in a PNG's ``kroma`` text chunk or as ``kroma:record`` in a WebP's XMP packet; the rest
of the file stays unchanged. Other formats only have the sidecar. Nothing here decodes a picture.

Two checksums detect changes: ``body_sha256`` covers the file without its texts, so its pixels, and
``record_sha256`` covers the record, including the first. They detect damage and edits but are not a
signature: anybody who can write the file can also write them.
"""

import hashlib
import struct
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID
from xml.sax.saxutils import escape, unescape

import msgspec

from kroma import __version__
from kroma.errors import InvalidRequestError
from kroma.imaging.header import MAX_PNG_CHUNKS
from kroma.imaging.png_text import SIGNATURE, chunk

KEYWORD: Final = "kroma"
RECORD_VERSION: Final = 1
MAX_RECORD_BYTES: Final = 1024 * 1024
_PNG_TEXTS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_RECORD: Final = (b"<kroma:record>", b"</kroma:record>")
_DESCRIPTION: Final = (
    b'<rdf:Description rdf:about="" xmlns:kroma="urn:kroma:record:1">',
    b"</rdf:Description>",
)
_MOST_PARTS: Final = MAX_PNG_CHUNKS
"""Chunks to parse, since a file may have millions of empty ones; the rest counts as one more part."""
_RDF_END: Final = b"</rdf:RDF>"
_RIFF_HEAD: Final = 12
_CHUNK_HEAD: Final = 8
_XMP_FLAG: Final = 0x04
_ALPHA_FLAG: Final = 0x10
_VP8_START: Final = b"\x9d\x01\x2a"
_VP8L_SIGNATURE: Final = 0x2F
_FOURTEEN_BITS: Final = 0x3FFF

_Part: TypeAlias = tuple[bytes, memoryview]


class RecordUnreadableError(InvalidRequestError):
    """A picture's record is invalid."""

    code = "record_unreadable"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"The record in '{name}' cannot be read: {problem}")


class ParentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An input picture."""

    role: str
    """``scene``, ``style``, ``reference``, or ``source`` for the picture that a later step changed."""
    path: str
    """The key in the project, or the file's name."""
    sha256: str
    asset_id: UUID | None = None


class PictureRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a picture was made, without any secrets; fields that do not apply are absent."""

    # Defaults are not written, so no default may be a current value.
    version: int = 0
    software: str = ""
    step: str = ""
    """The step that made the file, like ``generate`` or ``upscale``."""
    made_at: str = ""
    """ISO 8601, UTC."""
    project_id: UUID | None = None
    run_id: UUID | None = None
    job_id: UUID | None = None
    job_key: str = ""
    candidate_id: UUID | None = None
    candidate_index: int | None = None
    stage: str = ""
    time_of_day: str = ""
    weather: str = ""
    prompt: str = ""
    provider: str = ""
    model: str = ""
    seed: int | None = None
    size: str = ""
    quality: str = ""
    parameters: dict[str, Any] = {}
    provider_request_id: str = ""
    provider_call_id: UUID | None = None
    parents: tuple[ParentRecord, ...] = ()
    body_sha256: str = ""
    """SHA-256 of the file without its text chunks or XMP packet, in hex."""
    record_sha256: str = ""
    """SHA-256 of this record's JSON without this field, in hex."""


class Sidecar(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON file beside a picture."""

    record: PictureRecord
    sha256: str
    """Of the whole file as it was written, in hex."""
    size_bytes: int
    mime_type: str


class Sealed(NamedTuple):
    """A picture with its record."""

    data: bytes
    record: PictureRecord
    """With its checksums."""

    def sidecar(self, mime_type: str) -> bytes:
        """The sidecar's content."""
        sidecar = Sidecar(
            record=self.record,
            sha256=hashlib.sha256(self.data).hexdigest(),
            size_bytes=len(self.data),
            mime_type=mime_type,
        )
        return msgspec.json.format(msgspec.json.encode(sidecar), indent=2) + b"\n"


class State(StrEnum):
    """What has changed since a picture was written."""

    UNCHANGED = "unchanged"
    PICTURE_CHANGED = "picture_changed"
    RECORD_CHANGED = "record_changed"


def sealed(data: bytes, record: PictureRecord) -> Sealed:
    """The picture with this record instead of an earlier one; the rest stays the same byte for byte.

    Formats that cannot contain a record and files with an invalid structure are returned unchanged.
    """
    complete = msgspec.structs.replace(
        record,
        version=RECORD_VERSION,
        software=f"kroma {__version__}",
        body_sha256=body_sha256(data),
        record_sha256="",
    )
    complete = msgspec.structs.replace(complete, record_sha256=_record_sha256(complete))
    text = msgspec.json.encode(complete)
    try:
        return Sealed(_with_text(data, text), complete)
    except (struct.error, IndexError):
        return Sealed(data, complete)


def find_record(data: bytes, *, name: str) -> PictureRecord | None:
    """The record inside a picture.

    Raises:
        RecordUnreadableError: It is too large, invalid, or from a newer Kroma.
    """
    text = _text_of(data)
    return None if text is None else _decoded(text, PictureRecord, name=name)


def decoded_sidecar(text: bytes, *, name: str) -> Sidecar:
    """Decode a sidecar.

    Raises:
        RecordUnreadableError: As ``find_record``.
    """
    return _decoded(text, Sidecar, name=name)


def _decoded(text: bytes, shape: type[Any], *, name: str) -> Any:  # noqa: ANN401 - of ``shape``
    if len(text) > MAX_RECORD_BYTES:
        raise RecordUnreadableError(name, f"it has {len(text)} bytes; the limit is {MAX_RECORD_BYTES}")
    try:
        read = msgspec.json.decode(text, type=shape)
    except (msgspec.DecodeError, ValueError, RecursionError) as exc:
        raise RecordUnreadableError(name, str(exc)) from exc
    version = (read.record if isinstance(read, Sidecar) else read).version
    if version > RECORD_VERSION:
        problem = f"its version is {version}, but this Kroma reads only up to {RECORD_VERSION}"
        raise RecordUnreadableError(name, problem)
    return read


def state_of(data: bytes, record: PictureRecord) -> State:
    """Whether the picture or its record has changed."""
    if record.record_sha256 != _record_sha256(record):
        return State.RECORD_CHANGED
    return State.UNCHANGED if body_sha256(data) == record.body_sha256 else State.PICTURE_CHANGED


def body_sha256(data: bytes) -> str:
    """SHA-256 of the file without texts and the flag for them, in hex; of other formats, the whole file."""
    digest = hashlib.sha256()
    if data.startswith(SIGNATURE):
        digest.update(SIGNATURE)
        for kind, part in _png_parts(data):
            if kind not in _PNG_TEXTS:
                digest.update(part)
    elif _is_webp(data):
        for kind, part in _webp_parts(data):
            if kind not in {b"XMP ", b"VP8X"}:
                digest.update(part)
    else:
        digest.update(data)
    return digest.hexdigest()


def _record_sha256(record: PictureRecord) -> str:
    bare = msgspec.structs.replace(record, record_sha256="")
    return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()


def _all_parts(parts: Iterator[_Part]) -> list[_Part]:
    found = list(parts)
    if len(found) > _MOST_PARTS:
        raise IndexError  # the last part is unparsed
    return found


def _with_text(data: bytes, text: bytes) -> bytes:
    if data.startswith(SIGNATURE):
        return _png_with(data, text)
    return _webp_with(data, text) if _is_webp(data) else data


def _text_of(data: bytes) -> bytes | None:
    if data.startswith(SIGNATURE):
        return next((_png_text(part) for kind, part in _png_parts(data) if _is_ours(kind, part)), None)
    if _is_webp(data):
        packets = (bytes(part[_CHUNK_HEAD:]) for kind, part in _webp_parts(data) if kind == b"XMP ")
        spans = ((packet, _span(packet, _RECORD)) for packet in packets)
        return next((_plain(_inside(packet, span, _RECORD)) for packet, span in spans if span), None)
    return None


# PNG (specification, section 5.3): whole chunks, so that they can be copied unchanged.


def _png_parts(data: bytes) -> Iterator[_Part]:
    """Every whole chunk, then anything after the last one as a part without a kind."""
    view, offset = memoryview(data), len(SIGNATURE)
    for _ in range(_MOST_PARTS):
        if offset + 12 > len(data):
            break
        (length,) = struct.unpack_from(">I", data, offset)
        end = offset + 12 + length
        kind = data[offset + 4 : offset + 8]
        yield kind, view[offset:end]
        offset = end
        if kind == b"IEND":
            break
    if offset < len(data):
        yield b"", view[offset:]


def _is_ours(kind: bytes, part: memoryview) -> bool:
    return kind == b"iTXt" and bytes(part[8 : 9 + len(KEYWORD)]) == KEYWORD.encode() + b"\0"


def _png_text(part: memoryview) -> bytes:
    body = bytes(part[8:-4])
    # Skips the keyword, compression flag and method, language and translated keyword.
    return body[len(KEYWORD) + 3 :].split(b"\0", 2)[-1]


def _png_with(data: bytes, text: bytes) -> bytes:
    ours = chunk(b"iTXt", KEYWORD.encode() + b"\0\0\0\0\0" + text)
    kept: list[bytes | memoryview] = [SIGNATURE]
    is_placed = False
    for kind, part in _all_parts(_png_parts(data)):
        if _is_ours(kind, part):
            continue
        if kind == b"IDAT" and not is_placed:
            kept.append(ours)
            is_placed = True
        kept.append(part)
    return b"".join(kept)


# WebP (RFC 9649): a simple file becomes an extended one, whose XMP packet comes last.


def _is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _webp_parts(data: bytes) -> Iterator[_Part]:
    """Every whole chunk with its padding, then anything after the container as a part without a kind."""
    view, offset = memoryview(data), _RIFF_HEAD
    (size,) = struct.unpack_from("<I", data, 4)
    end_of_file = min(len(data), _CHUNK_HEAD + size + (size & 1))
    for _ in range(_MOST_PARTS):
        if offset + _CHUNK_HEAD > end_of_file:
            break
        (length,) = struct.unpack_from("<I", data, offset + 4)
        end = min(offset + _CHUNK_HEAD + length + (length & 1), end_of_file)
        yield data[offset : offset + 4], view[offset:end]
        offset = end
    if offset < len(data):
        yield b"", view[offset:]


def _webp_with(data: bytes, text: bytes) -> bytes:
    parts = _all_parts(_webp_parts(data))
    packet = next((bytes(part[_CHUNK_HEAD:]) for kind, part in parts if kind == b"XMP "), b"")
    inside = [(kind, part) for kind, part in parts if kind not in {b"XMP ", b"VP8X", b""}]
    after = [part for kind, part in parts if not kind]
    head = next((bytearray(part) for kind, part in parts if kind == b"VP8X"), None)
    if head is None:
        head = bytearray(_extended_head(inside))
    head[_CHUNK_HEAD] |= _XMP_FLAG
    body = b"".join([head, *(part for _, part in inside), _riff_chunk(b"XMP ", _xmp(packet, text))])
    return b"".join([b"RIFF", struct.pack("<I", 4 + len(body)), b"WEBP", body, *after])


def _riff_chunk(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) & 1)


def _extended_head(parts: list[_Part]) -> bytes:
    """The VP8X chunk that a simple file's image needs in an extended file."""
    kind, part = parts[0]
    payload = part[_CHUNK_HEAD:]
    flags = 0
    if kind == b"VP8L":
        if payload[0] != _VP8L_SIGNATURE:
            raise IndexError
        (bits,) = struct.unpack_from("<I", payload, 1)
        width, height = bits & _FOURTEEN_BITS, bits >> 14 & _FOURTEEN_BITS
        flags = _ALPHA_FLAG if bits >> 28 & 1 else 0
    else:
        if kind != b"VP8 " or bytes(payload[3:6]) != _VP8_START:
            raise IndexError
        width, height = (side & _FOURTEEN_BITS for side in struct.unpack_from("<HH", payload, 6))
        width, height = width - 1, height - 1
    sides = width.to_bytes(3, "little") + height.to_bytes(3, "little")
    return _riff_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + sides)


def _xmp(packet: bytes, text: bytes) -> bytes:
    record = escape(text.decode()).encode()
    description = _DESCRIPTION[0] + _RECORD[0] + record + _RECORD[1] + _DESCRIPTION[1]
    packet = _without(packet, _DESCRIPTION)
    head, end, tail = packet.rpartition(_RDF_END)
    if end:
        return head + description + end + tail
    return (
        b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        + description
        + b'</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    )


# Not by a regular expression, which would search for the end of each of a million unclosed tags.


def _span(packet: bytes, tag: tuple[bytes, bytes], after: int = 0) -> tuple[int, int] | None:
    """Start and end of the first element with this tag."""
    start = packet.find(tag[0], after)
    end = -1 if start < 0 else packet.find(tag[1], start + len(tag[0]))
    return None if end < 0 else (start, end + len(tag[1]))


def _inside(packet: bytes, span: tuple[int, int], tag: tuple[bytes, bytes]) -> bytes:
    start, end = span
    return packet[start + len(tag[0]) : end - len(tag[1])]


def _without(packet: bytes, tag: tuple[bytes, bytes]) -> bytes:
    kept: list[bytes] = []
    after = 0
    while (span := _span(packet, tag, after)) is not None:
        kept.append(packet[after : span[0]])
        after = span[1]
    return b"".join([*kept, packet[after:]])


def _plain(text: bytes) -> bytes:
    return unescape(text.decode(errors="replace")).encode()
