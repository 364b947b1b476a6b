"""What a picture says of its own making, and whether it was changed since."""

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
    """A picture's record, held against the picture."""

    file: str
    mime_type: str
    """Empty when the file is no picture that can be read."""
    width: int | None
    height: int | None
    size_bytes: int
    sha256: str
    source: str
    """Where the record was: ``picture`` or ``sidecar``."""
    state: State
    is_whole: bool | None
    """Whether the file is to the byte what was written; None without a file beside it."""
    record: PictureRecord

    @property
    def is_unchanged(self) -> bool:
        """Whether pixels and record are as they were written."""
        return self.state is State.UNCHANGED


def inspected(data: bytes, *, name: str, beside: bytes | None = None) -> Inspection:
    """Read and check a picture's record; nothing is decoded.

    Args:
        beside: The file beside it; used where the picture itself has no record.

    Raises:
        NoRecordError: There is none.
        RecordUnreadableError: It cannot be read.
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
    """`inspected` of a file and the one beside it.

    Raises:
        NoRecordError: There is no record.
        RecordUnreadableError: It cannot be read.
        PictureTooLargeError: The file is over 64 MiB.
        UnwritableError: The file cannot be read.
    """
    data = read_picture(path)
    return inspected(data, name=str(path), beside=_beside(path))


def _beside(path: Path) -> bytes | None:
    try:
        with path.with_name(f"{path.name}.json").open("rb") as file:
            return file.read(2 * MAX_RECORD_BYTES)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise UnwritableError(f"{path}.json", exc.strerror or type(exc).__name__) from exc
