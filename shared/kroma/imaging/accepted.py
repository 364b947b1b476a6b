"""What was found of a stranger's picture."""

import msgspec

from kroma.imaging.header import PictureHeader


class AcceptedPicture(msgspec.Struct, frozen=True, kw_only=True):
    """A picture that may be kept."""

    header: PictureHeader
    """Of what is kept."""
    sent: PictureHeader
    """Of what was sent."""
    extension: str
    """Of what is kept, without a dot."""
    converted: bytes | None
    """What is kept instead of the bytes that were sent; None keeps those."""
