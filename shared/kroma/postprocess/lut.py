"""Color look-up tables in the ``.cube`` format (Adobe's Cube LUT Specification 1.0)."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kroma.errors import InvalidRequestError
from kroma.postprocess.specs import MAX_CUBE_BYTES

MAX_SIZE_1D: Final = 65536
MAX_SIZE_3D: Final = 129
MAX_LINE_CHARACTERS: Final = 1000
"""The specification has 250, but programs write longer titles and comments."""
MAX_OTHER_LINES: Final = 1000
"""Limit for keywords, comments and blank lines."""
_ROWS_AT_ONCE: Final = 4096
_MIN_SIZE: Final = 2
_NUMBERS: Final = 3
_LONGEST_SIZE: Final = 12
"""Digits."""


class CubeError(InvalidRequestError):
    """A ``.cube`` file is invalid; the message has the line."""

    code = "invalid_lut"

    def __init__(self, name: str, problem: str, *, line: int | None = None) -> None:
        position = f", line {line}" if line is not None else ""
        super().__init__(f"Look-up table '{name}'{position}: {problem}")


@dataclass(frozen=True, slots=True)
class CubeLut:
    """A look-up table."""

    table: NDArray[np.float32]
    """1D: (n, 3); 3D: (n, n, n, 3) by blue, green, red, as in the file."""
    low: tuple[float, float, float]
    """The input of the first entry, where 0 is black and 1 is white."""
    high: tuple[float, float, float]

    def applied(self, levels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Look up (height, width, 3) levels of 0 to 255; the result is not clamped."""
        low, high = np.array(self.low, np.float32), np.array(self.high, np.float32)
        share: NDArray[np.float32] = np.clip((levels / np.float32(255) - low) / (high - low), 0, 1).astype(
            np.float32
        )
        looked_up = self._by_channel(share) if self.table.ndim == 2 else self._tetrahedral(share)  # noqa: PLR2004 - 1D
        return np.asarray(looked_up * np.float32(255), np.float32)

    def _by_channel(self, share: NDArray[np.float32]) -> NDArray[np.float32]:
        size = self.table.shape[0]
        position = share * np.float32(size - 1)
        lower = np.minimum(position.astype(np.int32), size - 2)
        part = position - lower.astype(np.float32)
        channels = np.arange(3)
        below, above = self.table[lower, channels], self.table[lower + 1, channels]
        return np.asarray(below + (above - below) * part, np.float32)

    def _tetrahedral(self, share: NDArray[np.float32]) -> NDArray[np.float32]:
        """Interpolate between the four corners of a tetrahedron, which keeps grays gray."""
        size = self.table.shape[0]
        shape = share.shape
        position = (share * np.float32(size - 1)).reshape(-1, 3)
        lower = np.minimum(position.astype(np.int64), size - 2)
        part = position - lower.astype(np.float32)
        strides = np.array([1, size, size * size], np.int64)  # of red, green, blue
        flat = self.table.reshape(-1, 3)
        corner = lower @ strides
        # From the corner one step along each axis, beginning with the largest part.
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
    """Read a table of one or three dimensions; ``name`` is for messages.

    Raises:
        CubeError: It is invalid; the message has the line.
    """
    if len(data) > MAX_CUBE_BYTES:
        raise CubeError(name, f"the file has {len(data)} bytes; the limit is {MAX_CUBE_BYTES}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise CubeError(name, "this is not text; use a .cube file", line=line) from exc
    return _Reader(name).read(_lines(text, name))


def check_cube(data: bytes, *, name: str) -> None:
    """As ``read_cube``, without sending the table back from the picture process."""
    read_cube(data, name=name)


def _lines(text: str, name: str) -> list[str]:
    """The lines of a file, after a quick check that they are neither too many nor too long."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    most = MAX_SIZE_3D**3 + MAX_OTHER_LINES
    if text.count("\n") > most:
        raise CubeError(name, f"the file has more than {most} lines")
    lines = text.split("\n")
    if max(map(len, lines)) > MAX_LINE_CHARACTERS:
        number = next(n for n, line in enumerate(lines, start=1) if len(line) > MAX_LINE_CHARACTERS)
        raise CubeError(name, f"the line has more than {MAX_LINE_CHARACTERS} characters", line=number)
    return lines


class _Reader:
    """Reads in linear time, up to the first invalid line."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._size: tuple[int, int] | None = None
        """Number of dimensions, and entries per dimension."""
        self._low = (0.0, 0.0, 0.0)
        self._high = (1.0, 1.0, 1.0)
        self._domain_line = 1
        self._blocks: list[NDArray[np.float32]] = []
        self._texts: list[str] = []
        """Rows of values that are not parsed yet."""
        self._numbers_of_texts: list[int] = []
        self._rows = 0
        self._others = 0

    def read(self, lines: Sequence[str]) -> CubeLut:
        last = 1
        for number, raw in enumerate(lines, start=1):
            line = raw.strip()
            if line and (line[0].isdigit() or line[0] in "+-."):
                self._take_row(line, number)
                last = number
                continue
            self._others += 1
            if self._others > MAX_OTHER_LINES:
                problem = f"there are more than {MAX_OTHER_LINES} keywords, comments and blank lines"
                raise self._wrong(problem, number)
            if line and not line.startswith("#"):
                self._take_keyword(line, number)
                last = number
        self._read_rows()
        if self._size is None:
            raise self._wrong("LUT_1D_SIZE or LUT_3D_SIZE is missing", last)
        dimensions, size = self._size
        if self._rows != size**dimensions:
            raise self._wrong(f"there are {self._rows} rows of values, not {size**dimensions}", last)
        if any(low >= high for low, high in zip(self._low, self._high, strict=True)):
            raise self._wrong("the domain must end above its start", self._domain_line)
        table = np.concatenate(self._blocks)
        if dimensions == _NUMBERS:
            table = table.reshape(size, size, size, 3)
        return CubeLut(table, self._low, self._high)

    def _take_keyword(self, line: str, number: int) -> None:
        self._read_rows()  # report errors in order
        if self._rows:
            raise self._wrong("keywords must come before the values", number)
        word, _, rest = " ".join(line.split()).partition(" ")
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
                self._low = self._three(rest, number)
            case "DOMAIN_MAX":
                self._high = self._three(rest, number)
            case "LUT_1D_INPUT_RANGE" | "LUT_3D_INPUT_RANGE":
                low, high = self._range(rest, number)
                self._low, self._high = (low, low, low), (high, high, high)
            case _:
                raise self._wrong(f"'{word[:40]}' is not a keyword of .cube files", number)

    def _sized(self, dimensions: int, text: str, number: int, largest: int) -> tuple[int, int]:
        if self._size is not None:
            raise self._wrong("the size is set twice", number)
        words = text.split()
        if len(words) != 1 or not words[0].isascii() or not words[0].isdigit():
            raise self._wrong("the size must be one whole number", number)
        # Python refuses to convert thousands of digits.
        if len(words[0]) > _LONGEST_SIZE or not _MIN_SIZE <= int(words[0]) <= largest:
            shown = words[0][:_LONGEST_SIZE]
            raise self._wrong(f"the size must be from {_MIN_SIZE} to {largest}, not {shown}", number)
        return dimensions, int(words[0])

    def _take_row(self, line: str, number: int) -> None:
        if self._size is None:
            raise self._wrong("LUT_1D_SIZE or LUT_3D_SIZE must come before the values", number)
        dimensions, size = self._size
        if self._rows + len(self._texts) == size**dimensions:
            self._read_rows()  # report errors in order
            raise self._wrong(f"there are more than {size**dimensions} rows of values", number)
        self._texts.append(line)
        self._numbers_of_texts.append(number)
        if len(self._texts) == _ROWS_AT_ONCE:
            self._read_rows()

    def _read_rows(self) -> None:
        if not self._texts:
            return
        block = _three_each(self._texts)
        if block is None:
            first = bisect_left(
                range(len(self._texts)), 1, key=lambda n: _three_each(self._texts[: n + 1]) is None
            )
            raise self._wrong("there must be three numbers", self._numbers_of_texts[first])
        self._blocks.append(block)
        self._rows += len(self._texts)
        self._texts, self._numbers_of_texts = [], []

    def _three(self, text: str, number: int) -> tuple[float, float, float]:
        values = _three_each([text]) if text else None
        if values is None:
            raise self._wrong("there must be three numbers", number)
        first, second, third = values[0].tolist()
        return first, second, third

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


def _three_each(lines: Sequence[str]) -> NDArray[np.float32] | None:
    """Parse lines of three finite numbers, (n, 3); None if any line is invalid."""
    try:
        # NumPy's parser is fast: a large table has two million lines.
        values = np.loadtxt(lines, dtype=np.float64, comments=None, ndmin=2)
    except ValueError:
        return None
    if values.shape != (len(lines), _NUMBERS):
        return None
    with np.errstate(over="ignore"):
        rows = values.astype(np.float32)
    return rows if np.isfinite(rows).all() else None
