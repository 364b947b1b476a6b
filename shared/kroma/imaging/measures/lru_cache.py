"""What was measured of the last pictures; scenes and references come back with every job of a run."""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """Results by content, the ones used longest ago forgotten first; for one thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[bytes, T] = OrderedDict()

    def get(self, data: bytes, measure: Callable[[], T]) -> T:
        """What ``measure`` makes of ``data``, measured again only when it is forgotten.

        Args:
            data: A picture's file, which alone decides the result.
            measure: What to do with it; an error is not remembered.
        """
        key = sha256(data).digest()
        if key not in self._found:
            self._found[key] = measure()
        self._found.move_to_end(key)
        while len(self._found) > self._most:
            self._found.popitem(last=False)
        return self._found[key]
