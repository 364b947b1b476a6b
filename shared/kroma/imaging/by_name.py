"""Work for picture processes, for those who only send it there: they load no picture library themselves."""

from kroma.imaging.accepted import AcceptedPicture
from kroma.imaging.file_part import FilePart


def accept(data: bytes | FilePart, *, name: str) -> AcceptedPicture:
    """See ``kroma.imaging.accept``."""
    from kroma.imaging.accept import accept  # noqa: PLC0415 - loads numpy and OpenCV

    return accept(data.read() if isinstance(data, FilePart) else data, name=name)


def thumbnail(data: bytes, size_px: int, *, name: str) -> bytes:
    """See ``kroma.imaging.thumbnail``."""
    from kroma.imaging.thumbnail import thumbnail  # noqa: PLC0415 - loads Pillow

    return thumbnail(data, size_px, name=name)
