"""The work of picture processes by its names: what asks for it loads no picture library, they do.

Each function is that of the same name in ``kroma.postprocess.work`` or ``kroma.postprocess.compare``.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from kroma.imaging.errors import PictureTooLargeError
from kroma.postprocess.request import ColourProfile, Comparison, Expected, Format, Made, Size

# ruff: noqa: PLC0415 - numpy and OpenCV load where pictures are, not where they are asked for

P = ParamSpec("P")
T = TypeVar("T")


def _within_memory(work: Callable[P, T]) -> Callable[P, T]:
    """A process at its limit is no bug: the picture is too large for it."""

    @wraps(work)
    def limited(*args: P.args, **kwargs: P.kwargs) -> T:
        import cv2

        name = str(kwargs.get("name") or kwargs.get("tool") or "result")
        problem = "working on it needs more memory than there is"
        try:
            return work(*args, **kwargs)
        except MemoryError as exc:
            raise PictureTooLargeError(name, problem, "3 GiB") from exc
        except cv2.error as exc:
            if exc.code == cv2.Error.STS_NO_MEM:
                raise PictureTooLargeError(name, problem, "3 GiB") from exc
            raise

    return limited


@_within_memory
def grade(data: bytes, profile: ColourProfile, lut: tuple[str, bytes] | None, *, name: str) -> Made:
    """A PNG in the profile's colours."""
    from kroma.postprocess import work

    return work.grade(data, profile, lut, name=name)


@_within_memory
def enlarge(data: bytes, scale: int, kind: Format, quality: int, *, name: str) -> Made:
    """The picture ``scale`` times as wide and as high."""
    from kroma.postprocess import work

    return work.enlarge(data, scale, kind, quality, name=name)


@_within_memory
def remove_backdrop(data: bytes, kind: Format, quality: int, *, name: str) -> Made:
    """The subject of a picture with a plain backdrop."""
    from kroma.postprocess import work

    return work.remove_backdrop(data, kind, quality, name=name)


@_within_memory
def plain_png(data: bytes, *, name: str, limit_scale: int = 1) -> bytes:
    """Any picture as an upright PNG of 8 bits."""
    from kroma.postprocess import work

    return work.plain_png(data, name=name, limit_scale=limit_scale)


@_within_memory
def finish_enlarged(
    source: bytes, answer: bytes, scale: int, kind: Format, quality: int, *, tool: str
) -> Made:
    """What a program enlarged."""
    from kroma.postprocess import work

    return work.finish_enlarged(source, answer, scale, kind, quality, tool=tool)


@_within_memory
def finish_cutout(source: bytes, answer: bytes, kind: Format, quality: int, *, crop: bool, tool: str) -> Made:
    """What a program or a service cut out."""
    from kroma.postprocess import work

    return work.finish_cutout(source, answer, kind, quality, crop=crop, tool=tool)


@_within_memory
def framed(data: bytes, size: Size, *, name: str) -> bytes:
    """A PNG with a transparent margin that brings it to the proportions of a size."""
    from kroma.postprocess import work

    return work.framed(data, size, name=name)


@_within_memory
def finish_refined(
    source: bytes, answer: bytes, size: Size, kind: Format, quality: int, *, tool: str
) -> Made:
    """A refined cut-out at the source's size again."""
    from kroma.postprocess import work

    return work.finish_refined(source, answer, size, kind, quality, tool=tool)


@_within_memory
def compare(source: bytes, result: bytes, expected: Expected) -> Comparison:
    """A result beside its source."""
    from kroma.postprocess.compare import compare as compared

    return compared(source, result, expected)


def check_cube(data: bytes, *, name: str) -> None:
    """Read a look-up table.

    Raises:
        CubeError: It is none, with the line where it stops being one.
    """
    from kroma.postprocess.lut import read_cube

    read_cube(data, name=name)
