"""Reads a picture's record and checks whether the picture has changed since."""

import hashlib
from pathlib import Path

import msgspec

from kroma.imaging.errors import PictureError
from kroma.imaging.header import inspect
from kroma.imaging.provenance import (
    MAX_RECORD_BYTES,
    PictureRecord,
    Sidecar,
    State,
    decoded_sidecar,
    find_record,
    state_of,
)
from kroma.tools.errors import NoRecordError, UnwritableError
from kroma.tools.files import read_picture


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """A picture's record, compared with the picture."""

    file: str
    mime_type: str
    """Empty if the file is not a readable picture."""
    width: int | None
    height: int | None
    size_bytes: int
    sha256: str
    source: str
    """Where the record was: ``picture`` or ``sidecar``."""
    state: State
    is_whole: bool | None
    """Whether the file is byte for byte as it was written; None without a sidecar."""
    record: PictureRecord

    @property
    def is_unchanged(self) -> bool:
        return self.state is State.UNCHANGED


def inspected(data: bytes, *, name: str, beside: bytes | None = None) -> Inspection:
    """Read and check a picture's record without decoding the picture.

    Args:
        beside: The sidecar; used if the picture itself has no record.

    Raises:
        NoRecordError: There is no record.
        RecordUnreadableError: The record cannot be read.
    """
    sidecar: Sidecar | None = None if beside is None else decoded_sidecar(beside, name=f"{name}.json")
    own = find_record(data, name=name)
    record = own or (sidecar.record if sidecar else None)
    if record is None:
        raise NoRecordError(name)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        header = inspect(data, name=name)
    except PictureError:
        header = None
    return Inspection(
        file=name,
        mime_type=header.mime_type if header else "",
        width=header.width if header else None,
        height=header.height if header else None,
        size_bytes=len(data),
        sha256=sha256,
        source="sidecar" if own is None else "picture",
        state=state_of(data, record),
        is_whole=None if sidecar is None else sidecar.sha256 == sha256,
        record=record,
    )


def inspected_file(path: Path) -> Inspection:
    """As ``inspected``, of a file and the sidecar beside it.

    Raises:
        PictureTooLargeError: The file is over 64 MiB.
        UnwritableError: A file cannot be read.
    """
    data = read_picture(path)
    try:
        with path.with_name(f"{path.name}.json").open("rb") as file:
            beside = file.read(2 * MAX_RECORD_BYTES)
    except FileNotFoundError:
        beside = None
    except OSError as exc:
        raise UnwritableError(f"{path}.json", exc) from exc
    return inspected(data, name=str(path), beside=beside)
