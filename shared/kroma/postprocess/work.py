"""The tools' work in picture processes."""

from typing import Any, Final

import numpy as np

from kroma.imaging.errors import PictureError
from kroma.imaging.high_bit_depth import Picture16, Pixels, decode16, encode16, mime_type
from kroma.postprocess import cutout
from kroma.postprocess.color import graded
from kroma.postprocess.enlarge import check_enlarged, enlarged, resized
from kroma.postprocess.errors import ToolError
from kroma.postprocess.lut import read_cube
from kroma.postprocess.memory import within_memory
from kroma.postprocess.specs import ColorProfile, Format, Made, Size

SAME_SHAPE: Final = 0.01
"""Tolerance of proportions that count as the same framing."""
_NOTHING: Final = 0.002
"""A cutout that shows a smaller share of the picture is empty."""


@within_memory
def grade(data: bytes, profile: ColorProfile, lut: tuple[str, bytes] | None, *, name: str) -> Made:
    """A graded PNG; ``lut`` is the name and content of a ``.cube`` file.

    Raises:
        PictureError: The picture does not decode.
        CubeError: The table cannot be read.
    """
    picture = decode16(data, name=name)
    table = None if lut is None else read_cube(lut[1], name=lut[0])
    return _made(graded(picture, profile, table), "png")


@within_memory
def enlarge(data: bytes, scale: int, kind: Format, quality: int, *, name: str) -> Made:
    """The picture ``scale`` times as wide and as high.

    Raises:
        PictureError: It does not decode, or would be too large.
    """
    return _made(enlarged(decode16(data, name=name), scale, name=name), kind, quality)


@within_memory
def remove_backdrop(data: bytes, kind: Format, quality: int, *, name: str) -> Made:
    """The subject on a transparent background, or on white in JPEG.

    Raises:
        PictureError: It does not decode.
        UnsureError: The backdrop is not plain.
    """
    found = cutout.cut_out(decode16(data, name=name))
    return _made(found.picture, kind, quality, confidence=found.confidence, reason=found.reason)


@within_memory
def plain_png(data: bytes, *, name: str, limit_scale: int = 1) -> bytes:
    """The picture as an upright 8-bit PNG with alpha, which all programs can read.

    Raises:
        PictureError: It does not decode, or would be too large after scaling by ``limit_scale``.
    """
    picture = decode16(data, name=name)
    check_enlarged(picture.size, limit_scale, name=name)
    return encode16(picture.in_8_bits())


@within_memory
def finish_enlarged(
    source: bytes, answer: bytes, scale: int, kind: Format, quality: int, *, tool: str
) -> Made:
    """A program's enlarged picture with the source's color space, and its alpha if the program lost it.

    Raises:
        ToolError: It is not a picture of the right size.
    """
    before = decode16(source, name="source")
    after = _decoded_answer(answer, tool)
    expected = before.size[0] * scale, before.size[1] * scale
    if after.size != expected:
        raise ToolError(tool, f"it returned {_shown(after.size)} pixels, not {_shown(expected)}")
    pixels = after.pixels
    if before.alpha is not None and after.alpha is None:
        alpha = resized(np.repeat(before.alpha[..., None], 3, axis=2), expected)[..., :1]
        share = alpha.astype(np.float32) / before.top
        pixels = np.concatenate([pixels, np.rint(share * after.top).astype(pixels.dtype)], axis=2)
    return _made(Picture16(pixels, before.icc_profile), kind, quality)


@within_memory
def finish_cutout(source: bytes, answer: bytes, kind: Format, quality: int, *, crop: bool, tool: str) -> Made:
    """A program's or service's cutout at the source's size, depth and color space.

    Raises:
        ToolError: It is not a picture, has another framing, has no transparency, or shows nothing.
    """
    before = decode16(source, name="source")
    after = _decoded_answer(answer, tool)
    if after.alpha is None:
        raise ToolError(tool, "its result has no transparency")
    share = float((after.alpha > after.top // 2).mean())
    if share < _NOTHING:
        raise ToolError(tool, "it removed the subject too: nothing is left")
    if crop:
        return _made(Picture16(after.pixels, before.icc_profile), kind, quality, cropped=True)
    pixels = after.pixels
    if after.size != before.size:
        if not _same_shape(before.size, after.size):
            raise ToolError(tool, f"it returned {_shown(after.size)} pixels for {_shown(before.size)}")
        pixels = _with_matte(before, after.replaced(resized(after.pixels, before.size)))
    elif before.is_16_bit:
        pixels = _with_matte(before, after)
    return _made(Picture16(pixels, before.icc_profile), kind, quality)


@within_memory
def framed(data: bytes, size: Size, *, name: str) -> bytes:
    """An 8-bit PNG with a transparent margin that gives it the proportions of ``size``.

    Raises:
        PictureError: It does not decode.
    """
    picture = decode16(data, name=name).in_8_bits()
    pixels = _with_alpha(picture.pixels)
    left, top, width, height = _frame(picture.size, size)
    out = np.zeros((height, width, 4), np.uint8)
    out[top : top + picture.size[1], left : left + picture.size[0]] = pixels
    return encode16(picture.replaced(out))


@within_memory
def finish_refined(
    source: bytes, answer: bytes, size: Size, kind: Format, quality: int, *, tool: str
) -> Made:
    """A refined cutout at the source's size, without the margin that ``framed`` added.

    Raises:
        ToolError: It is not a picture, has another framing, has no transparency, or shows nothing.
    """
    before = decode16(source, name="source")
    after = _decoded_answer(answer, tool)
    if not _same_shape((size.width, size.height), after.size):
        raise ToolError(tool, f"it returned {_shown(after.size)} pixels for {size.width}x{size.height}")
    if after.alpha is None:
        raise ToolError(tool, "its result has no transparency")
    left, top, width, height = _frame(before.size, size)
    whole = resized(after.pixels, (width, height))
    pixels = np.ascontiguousarray(whole[top : top + before.size[1], left : left + before.size[0]])
    if float((pixels[..., 3] > after.top // 2).mean()) < _NOTHING:
        raise ToolError(tool, "its result shows nothing")
    return _made(Picture16(pixels, before.icc_profile), kind, quality)


def _made(picture: Picture16, kind: Format, quality: int = 95, **details: Any) -> Made:  # noqa: ANN401 - for the record
    width, height = picture.size
    if kind == "jpg" and picture.alpha is not None:
        details["flattened"] = True
    data = encode16(picture, kind, quality=quality)
    return Made(data=data, mime_type=mime_type(kind), width=width, height=height, details=details)


def _decoded_answer(answer: bytes, tool: str) -> Picture16:
    try:
        return decode16(answer, name="answer")
    except PictureError as exc:
        raise ToolError(tool, f"its result is not a usable picture ({exc.code})") from exc


def _with_alpha(pixels: Pixels) -> Pixels:
    if pixels.shape[2] == 4:  # noqa: PLR2004 - RGBA
        return pixels
    top = np.iinfo(pixels.dtype).max
    return np.concatenate([pixels, np.full((*pixels.shape[:2], 1), top, pixels.dtype)], axis=2)


def _with_matte(before: Picture16, after: Picture16) -> Pixels:
    """The source's pixels with the result's transparency."""
    alpha = after.pixels[..., 3].astype(np.float32) / after.top * before.top
    matte = np.rint(alpha).astype(before.pixels.dtype)[..., None]
    return np.concatenate([before.pixels[..., :3], matte], axis=2)


def _same_shape(first: tuple[int, int], second: tuple[int, int]) -> bool:
    if min(*second) <= 1 < min(*first):
        return False
    return abs(first[0] * second[1] / (first[1] * second[0]) - 1) <= SAME_SHAPE


def _frame(picture: tuple[int, int], size: Size) -> tuple[int, int, int, int]:
    """The smallest frame of a size's proportions: the picture's left and top in it, its width and height."""
    width, height = picture
    frame_width = max(width, round(height * size.width / size.height))
    frame_height = max(height, round(width * size.height / size.width))
    return (frame_width - width) // 2, (frame_height - height) // 2, frame_width, frame_height


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
