"""The style references of `kroma demo`, in any size."""

import io
from typing import Final

from PIL import Image

from kroma.cli.demo import REFERENCES

REFERENCE_KINDS: Final = ("noir ink", "ink wash")


def style_reference(kind: str, size: tuple[int, int] | None = None) -> bytes:
    """A reference as an RGB PNG of ``(width, height)`` pixels; None keeps the original 640 by 800."""
    with Image.open(REFERENCES / f"{kind.replace(' ', '-')}.png") as picture:
        buffer = io.BytesIO()
        rgb = picture.convert("RGB").resize(size or picture.size, Image.Resampling.BOX)
        rgb.save(buffer, format="PNG")
    return buffer.getvalue()
