"""Colour look-up tables in the ``.cube`` format (Adobe's Cube LUT Specification 1.0)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kroma.errors import InvalidRequestError
from kroma.postprocess.orders import MAX_CUBE_BYTES

MAX_SIZE_1D: Final = 65536
MAX_SIZE_3D: Final = 129
_MIN_SIZE: Final = 2
_NUMBERS: Final = 3


class CubeError(InvalidRequestError):
    """A ``.cube`` file cannot be used; the message names the line."""

    code = "invalid_lut"

    def __init__(self, name: str, problem: str, *, line: int | None = None) -> None:
        place = f" line {line}:" if line is not None else ""
        super().__init__(f"Look-up table '{name}'{place} {problem}")


@dataclass(frozen=True, slots=True)
class CubeLut:
    """A table, read."""

    table: NDArray[np.float32]
    """1D: (n, 3); 3D: (n, n, n, 3) by blue, green, red, as the file lists them."""
    low: tuple[float, float, float]
    """The input, 0 to 1 being black to white, that the table begins with."""
    high: tuple[float, float, float]

    def applied(self, levels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Levels of 0 to 255, (height, width, 3), through the table; not clamped."""
        low, high = np.array(self.low, np.float32), np.array(self.high, np.float32)
        share: NDArray[np.float32] = np.clip((levels / np.float32(255) - low) / (high - low), 0, 1).astype(
            np.float32
        )
        looked_up = self._by_channel(share) if self.table.ndim == 2 else self._tetrahedral(share)  # noqa: PLR2004 - 1D
        return np.asarray(looked_up * np.float32(255), np.float32)

    def _by_channel(self, share: NDArray[np.float32]) -> NDArray[np.float32]:
        size = self.table.shape[0]
        place = share * np.float32(size - 1)
        lower = np.minimum(place.astype(np.int32), size - 2)
        part = place - lower.astype(np.float32)
        channels = np.arange(3)
        below, above = self.table[lower, channels], self.table[lower + 1, channels]
        return np.asarray(below + (above - below) * part, np.float32)

    def _tetrahedral(self, share: NDArray[np.float32]) -> NDArray[np.float32]:
        """Between the four corners of the tetrahedron that a colour lies in, so that greys stay grey."""
        size = self.table.shape[0]
        shape = share.shape
        place = (share * np.float32(size - 1)).reshape(-1, 3)
        lower = np.minimum(place.astype(np.int64), size - 2)
        part = place - lower.astype(np.float32)
        strides = np.array([1, size, size * size], np.int64)  # of red, green, blue
        flat = self.table.reshape(-1, 3)
        corner = lower @ strides
        # From the corner one step along each axis, the one with the largest part first.
        order = np.argsort(-part, axis=1, kind="stable")
        sorted_part = np.take_along_axis(part, order, axis=1)
        value = flat[corner]
        out = value.copy()
        for step in range(3):
            corner = corner + strides[order[:, step]]
            following = flat[corner]
            out += (following - value) * sorted_part[:, step : step + 1]
            value = following
        return out.reshape(shape)


def read_cube(data: bytes, *, name: str) -> CubeLut:
    """Read a table of one or three dimensions.

    Args:
        data: The whole file.
        name: For messages.

    Raises:
        CubeError: It is no such table, with the line where it stops being one.
    """
    if len(data) > MAX_CUBE_BYTES:
        raise CubeError(name, f"has {len(data)} bytes; the limit is {MAX_CUBE_BYTES}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise CubeError(name, "is no text; give a .cube file", line=line) from exc
    return _Reader(name).read(text)


class _Reader:
    def __init__(self, name: str) -> None:
        self._name = name
        self._size: tuple[int, int] | None = None
        """Dimensions, and entries of each."""
        self._low = (0.0, 0.0, 0.0)
        self._high = (1.0, 1.0, 1.0)
        self._domain_line = 1

    def read(self, text: str) -> CubeLut:
        rows: list[tuple[float, float, float]] = []
        last = 0
        for number, line in _lines(text):
            last = number
            if line[0].isdigit() or line[0] in "+-.":
                rows.append(self._row(line, number, len(rows)))
            elif rows:
                raise self._wrong("a keyword stands among the values", number)
            else:
                self._keyword(line, number)
        if self._size is None:
            raise self._wrong("names no LUT_1D_SIZE or LUT_3D_SIZE", last or 1)
        dimensions, size = self._size
        if len(rows) != size**dimensions:
            raise self._wrong(f"has {len(rows)} rows of values, not {size**dimensions}", last)
        if any(low >= high for low, high in zip(self._low, self._high, strict=True)):
            raise self._wrong("the domain ends where it begins, or before", self._domain_line)
        table = np.array(rows, dtype=np.float32)
        if dimensions == _NUMBERS:
            table = table.reshape(size, size, size, 3)
        return CubeLut(table, self._low, self._high)

    def _keyword(self, line: str, number: int) -> None:
        word, _, rest = line.partition(" ")
        if "SIZE" not in word.upper():
            self._domain_line = number
        match word.upper():
            case "TITLE":
                return
            case "LUT_1D_SIZE":
                self._size = self._sized(1, rest, number, MAX_SIZE_1D)
            case "LUT_3D_SIZE":
                self._size = self._sized(3, rest, number, MAX_SIZE_3D)
            case "DOMAIN_MIN":
                self._low = self._numbers(rest, number)
            case "DOMAIN_MAX":
                self._high = self._numbers(rest, number)
            case "LUT_1D_INPUT_RANGE" | "LUT_3D_INPUT_RANGE":
                low, high = self._range(rest, number)
                self._low, self._high = (low, low, low), (high, high, high)
            case _:
                raise self._wrong(f"'{word[:40]}' is no keyword of a .cube file", number)

    def _sized(self, dimensions: int, text: str, number: int, largest: int) -> tuple[int, int]:
        if self._size is not None:
            raise self._wrong("a second size", number)
        words = text.split()
        if len(words) != 1 or not words[0].isascii() or not words[0].isdigit():
            raise self._wrong("the size must be one whole number", number)
        if not _MIN_SIZE <= int(words[0]) <= largest:
            raise self._wrong(f"the size must be from {_MIN_SIZE} to {largest}, not {words[0]}", number)
        return dimensions, int(words[0])

    def _row(self, line: str, number: int, done: int) -> tuple[float, float, float]:
        if self._size is None:
            raise self._wrong("values stand before LUT_1D_SIZE or LUT_3D_SIZE", number)
        dimensions, size = self._size
        if done == size**dimensions:
            raise self._wrong(f"there are more than {size**dimensions} rows of values", number)
        return self._numbers(line, number)

    def _numbers(self, text: str, number: int) -> tuple[float, float, float]:
        try:
            values = [float(word) for word in text.split()]
        except ValueError:
            values = []
        if len(values) != _NUMBERS or not all(map(math.isfinite, values)):
            raise self._wrong("there must be three numbers", number)
        return values[0], values[1], values[2]

    def _range(self, text: str, number: int) -> tuple[float, float]:
        try:
            low, high = (float(word) for word in text.split())
        except ValueError:
            low = high = math.nan
        if not (math.isfinite(low) and math.isfinite(high)):
            raise self._wrong("there must be two numbers", number)
        return low, high

    def _wrong(self, problem: str, line: int) -> CubeError:
        return CubeError(self._name, problem, line=line)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Each line that says something, with its number."""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = " ".join(raw.split())
        if line and not line.startswith("#"):
            yield number, line
