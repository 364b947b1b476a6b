"""The limit of memory of a picture process, as an error of the picture."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import cv2

from kroma.imaging.errors import PictureTooLargeError

P = ParamSpec("P")
T = TypeVar("T")


def within_memory(work: Callable[P, T]) -> Callable[P, T]:
    """A process at its limit is no bug: the picture is too large for it."""

    @wraps(work)
    def limited(*args: P.args, **kwargs: P.kwargs) -> T:
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
