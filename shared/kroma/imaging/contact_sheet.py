"""Contact sheets: one PNG that shows each scene with its candidates and marks the winners."""

import io
from bisect import bisect_right
from itertools import pairwise
from typing import Final, TypeAlias

import msgspec
from PIL import Image, ImageDraw, ImageFont

from kroma.imaging.codec import decode
from kroma.imaging.errors import PictureError

_CELL: Final = (300, 260)
"""Maximum width and height of a picture, in pixels."""
_CAPTION: Final = 84
_GAP: Final = 24
_BAND: Final = 46
"""Height of the column names."""
_MARGIN: Final = 40
_FRAME: Final = 5
_REFERENCE: Final = (96, 84)
_PAPER: Final = (250, 249, 246)
_CARD: Final = (238, 236, 230)
_RULE: Final = (214, 210, 201)
_INK: Final = (28, 28, 30)
_QUIET: Final = (112, 110, 106)
_WINNER: Final = (22, 122, 84)
_REJECTED: Final = (176, 46, 42)
_REFUSED: Final = frozenset({"failed_output_guard", "failed"})

_Font: TypeAlias = ImageFont.ImageFont | ImageFont.FreeTypeFont


class SheetCell(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate's generated or final picture."""

    name: str
    status: str
    data: bytes | None = None
    """The encoded picture, if there is one."""
    chroma_delta: float | None = None
    reason: str = ""
    winner: bool = False


class SheetRow(msgspec.Struct, frozen=True, kw_only=True):
    """One scene and its candidates."""

    scene_name: str
    scene: bytes | None
    cells: tuple[SheetCell | None, ...]
    """None leaves a cell empty."""
    note: str = ""
    """One line under the scene's name, such as its size or time."""


class SheetHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The top of the sheet."""

    title: str
    """The project."""
    subtitle: str = ""
    """The run: its short id, stage, time, weather, provider."""
    styles: tuple[tuple[str, bytes], ...] = ()
    """Name and encoded picture of each style reference."""
    columns: tuple[str, ...] = ()
    """Column names, the scene's first; an empty name extends the one on its left."""


def contact_sheet(rows: list[SheetRow], *, header: SheetHeader | None = None) -> bytes:
    """A PNG with one row per scene; a picture that does not decode is replaced by a note."""
    columns = 1 + max((len(row.cells) for row in rows), default=1)
    shown = header or SheetHeader(title="Contact sheet")
    width = max(2 * _MARGIN + columns * _CELL[0] + (columns - 1) * _GAP, 3 * _CELL[0])
    row_height = _CELL[1] + _CAPTION + _GAP
    band = _header_height(shown)
    top = band + (_BAND if shown.columns else 0)
    sheet = _Sheet(width, top + max(1, len(rows)) * row_height + _MARGIN)
    sheet.draw_header(shown)
    sheet.draw_columns(shown.columns, band)
    for number, row in enumerate(rows):
        sheet.draw_row(row, top + number * row_height)
    return sheet.png()


def _header_height(header: SheetHeader) -> int:
    references = _REFERENCE[1] + 24 if header.styles else 0
    return _MARGIN + max(84, references) + 36


class _Sheet:
    def __init__(self, width: int, height: int) -> None:
        self._image = Image.new("RGB", (width, height), _PAPER)
        self._draw = ImageDraw.Draw(self._image)
        self._title = ImageFont.load_default(30)
        self._strong = ImageFont.load_default(17)
        self._plain = ImageFont.load_default(14)

    def png(self) -> bytes:
        buffer = io.BytesIO()
        self._image.save(buffer, format="PNG")
        return buffer.getvalue()

    def draw_header(self, header: SheetHeader) -> None:
        right = self._image.width - _MARGIN
        shown = header.styles[: max(0, (self._image.width // 2 - _MARGIN) // (_REFERENCE[0] + 12))]
        left_of_references = right - len(shown) * (_REFERENCE[0] + 12)
        room = left_of_references - _MARGIN - 24
        self._text((_MARGIN, _MARGIN - 4), header.title, self._title, _INK, room)
        for number, line in enumerate(self._lines(header.subtitle, self._plain, room, 2)):
            self._text((_MARGIN, _MARGIN + 42 + 20 * number), line, self._plain, _QUIET, room)
        for number, (name, data) in enumerate(shown):
            left = left_of_references + number * (_REFERENCE[0] + 12) + 12
            self._picture(data, (left, _MARGIN - 8), _REFERENCE)
            self._text((left, _MARGIN + _REFERENCE[1]), name, self._plain, _QUIET, _REFERENCE[0])
        rule = _header_height(header) - 22
        self._draw.line((_MARGIN, rule, right, rule), fill=_RULE, width=1)

    def draw_columns(self, names: tuple[str, ...], top: int) -> None:
        """Draw each name with a line across its columns."""
        starts = [position for position, name in enumerate(names) if name]
        for position, after in pairwise([*starts, len(names)]):
            left = _MARGIN + position * (_CELL[0] + _GAP)
            right = _MARGIN + after * (_CELL[0] + _GAP) - _GAP
            self._text((left, top), names[position], self._strong, _INK, right - left)
            self._draw.line((left, top + 28, right, top + 28), fill=_INK, width=2)

    def draw_row(self, row: SheetRow, top: int) -> None:
        self._picture(row.scene, (_MARGIN, top), _CELL)
        below = top + _CELL[1] + 12
        self._text((_MARGIN, below), row.scene_name, self._strong, _INK, _CELL[0])
        self._text((_MARGIN, below + 24), row.note or "scene", self._plain, _QUIET, _CELL[0])
        for number, cell in enumerate(row.cells, start=1):
            if cell is not None:
                self._cell(cell, (_MARGIN + number * (_CELL[0] + _GAP), top))

    def _cell(self, cell: SheetCell, at: tuple[int, int]) -> None:
        refused = cell.status in _REFUSED
        box = self._picture(cell.data, at, _CELL, faded=refused)
        if refused:
            self._cross(box)
        if cell.winner:
            self._frame(box)
        left, below = at[0], at[1] + _CELL[1] + 12
        color = _WINNER if cell.winner else _REJECTED if refused else _INK
        self._text((left, below), cell.name, self._strong, color, _CELL[0])
        if cell.winner:
            self._badge((left + int(self._strong.getlength(cell.name)) + 10, below), "winner")
        delta = "" if cell.chroma_delta is None else f", chroma delta {cell.chroma_delta:.4f}"
        status = cell.status.replace("_", " ")
        self._text((left, below + 24), status + delta, self._plain, _QUIET, _CELL[0])
        for number, line in enumerate(self._lines(cell.reason, self._plain, _CELL[0], 2)):
            self._text((left, below + 43 + 17 * number), line, self._plain, _QUIET, _CELL[0])

    def _picture(
        self, data: bytes | None, at: tuple[int, int], room: tuple[int, int], *, faded: bool = False
    ) -> tuple[int, int, int, int]:
        """Draw a thumbnail in the center of a card; return the card's box."""
        box = (at[0], at[1], at[0] + room[0], at[1] + room[1])
        self._draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=_CARD)
        thumbnail = None if data is None else _thumbnail(data, room)
        if thumbnail is None:
            note = "no picture" if data is None else "unreadable picture"
            center = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            self._draw.text(center, note, fill=_QUIET, font=self._plain, anchor="mm")
            return box
        if faded:
            veil = Image.new("RGB", thumbnail.size, _PAPER)
            thumbnail = Image.blend(thumbnail.convert("L").convert("RGB"), veil, 0.55)
        left = at[0] + (room[0] - thumbnail.width) // 2
        top = at[1] + (room[1] - thumbnail.height) // 2
        self._image.paste(thumbnail, (left, top))
        return box

    def _frame(self, box: tuple[int, int, int, int]) -> None:
        around = (box[0] - _FRAME, box[1] - _FRAME, box[2] + _FRAME - 1, box[3] + _FRAME - 1)
        self._draw.rectangle(around, outline=_WINNER, width=_FRAME)

    def _cross(self, box: tuple[int, int, int, int]) -> None:
        self._draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=_REJECTED, width=2)
        self._draw.line((box[0] + 8, box[1] + 8, box[2] - 8, box[3] - 8), fill=_REJECTED, width=3)
        self._draw.line((box[0] + 8, box[3] - 8, box[2] - 8, box[1] + 8), fill=_REJECTED, width=3)

    def _badge(self, at: tuple[int, int], text: str) -> None:
        width = int(self._plain.getlength(text)) + 16
        self._draw.rounded_rectangle((at[0], at[1], at[0] + width, at[1] + 21), radius=10, fill=_WINNER)
        middle = (at[0] + width / 2, at[1] + 10.5)
        self._draw.text(middle, text, fill=_PAPER, font=self._plain, anchor="mm")

    def _text(
        self, at: tuple[int, int], text: str, font: _Font, color: tuple[int, int, int], room: int
    ) -> None:
        self._draw.text(at, _clipped(text, font, room), fill=color, font=font)

    def _lines(self, text: str, font: _Font, room: int, most: int) -> list[str]:
        """Wrap the text into at most ``most`` lines; the last one is truncated with an ellipsis."""
        lines: list[str] = []
        words = text.split()
        while words and len(lines) < most - 1:
            count = 1
            while count < len(words) and font.getlength(" ".join(words[: count + 1])) <= room:
                count += 1
            lines.append(" ".join(words[:count]))
            words = words[count:]
        if words:
            lines.append(" ".join(words))
        return [_clipped(line, font, room) for line in lines]


def _clipped(text: str, font: _Font, room: int) -> str:
    """The text, truncated with an ellipsis if it does not fit."""
    line = " ".join(text.split())
    if font.getlength(line) <= room:
        return line
    fitting = bisect_right(
        range(1, len(line) + 1), room, key=lambda count: font.getlength(line[:count] + "...")
    )
    return line[:fitting].rstrip() + "..."


def _thumbnail(data: bytes, room: tuple[int, int]) -> Image.Image | None:
    try:
        picture = decode(data, name="thumbnail")
    except PictureError:
        return None
    image = Image.fromarray(picture.pixels)
    factor = min(room[0] / image.width, room[1] / image.height)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    scaled = image.resize(size, Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.BICUBIC)
    if scaled.mode == "RGBA":
        ground = Image.new("RGBA", scaled.size, (*_PAPER, 255))
        scaled = Image.alpha_composite(ground, scaled)
    return scaled.convert("RGB")
