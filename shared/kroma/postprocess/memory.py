"""Turns a picture process's memory limit into an error about the picture."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import cv2

from kroma.imaging.errors import PictureTooLargeError

P = ParamSpec("P")
T = TypeVar("T")


def within_memory(work: Callable[P, T]) -> Callable[P, T]:
    """Raise ``PictureTooLargeError`` if the work runs out of memory."""

    @wraps(work)
    def limited(*args: P.args, **kwargs: P.kwargs) -> T:
        name = str(kwargs.get("name") or kwargs.get("tool") or "result")
        try:
            return work(*args, **kwargs)
        except (MemoryError, cv2.error) as exc:
            if isinstance(exc, cv2.error) and exc.code != cv2.Error.STS_NO_MEM:
                raise
            problem = "processing it needs more memory than is available"
            raise PictureTooLargeError(name, problem, "3 GiB") from exc

    return limited
