import io

import pytest
from PIL import Image, ImageFont

from kroma.imaging.contact_sheet import SheetCell, SheetHeader, SheetRow, contact_sheet

GREEN = (22, 122, 84)
RED = (176, 46, 42)


def png(color: str, size: tuple[int, int] = (60, 40), mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, color).save(buffer, format="PNG")
    return buffer.getvalue()


def colors(data: bytes) -> set[tuple[int, ...]]:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return {color for _, color in image.getcolors(1 << 20)}


def row(*cells: SheetCell) -> SheetRow:
    return SheetRow(scene_name="scene.png", scene=png("blue"), cells=cells)


def test_a_sheet_shows_every_picture() -> None:
    sheet = contact_sheet(
        [row(SheetCell(name="candidate 1", status="done", data=png("yellow")))],
        header=SheetHeader(title="demo", styles=(("ink", png("lime")),)),
    )
    assert {(0, 0, 255), (255, 255, 0), (0, 255, 0)} <= colors(sheet)


def test_the_winner_is_framed() -> None:
    cell = SheetCell(name="candidate 1", status="done", data=png("gray"))
    winner = SheetCell(name="candidate 1", status="done", data=png("gray"), winner=True)
    assert GREEN not in colors(contact_sheet([row(cell)]))
    assert GREEN in colors(contact_sheet([row(winner)]))


@pytest.mark.parametrize("status", ["failed_output_guard", "failed"])
def test_a_rejected_candidate_is_crossed_out_and_faded(status: str) -> None:
    sheet = contact_sheet(
        [row(SheetCell(name="candidate 1", status=status, data=png("yellow"), chroma_delta=170.0))]
    )
    assert RED in colors(sheet)
    assert (255, 255, 0) not in colors(sheet)


def test_rows_of_different_lengths_fit_one_sheet() -> None:
    cells = tuple(SheetCell(name=f"candidate {n}", status="done", data=png("gray")) for n in range(1, 4))
    wide = Image.open(io.BytesIO(contact_sheet([row(*cells), row()])))
    narrow = Image.open(io.BytesIO(contact_sheet([row(cells[0])])))
    assert wide.width > narrow.width
    assert wide.height > narrow.height


@pytest.mark.parametrize("data", [None, b"", b"text"])
def test_a_missing_or_broken_picture_leaves_the_rest(data: bytes | None) -> None:
    sheet = contact_sheet(
        [row(SheetCell(name="candidate 1", status="failed", data=data, reason="the call failed"))]
    )
    assert (0, 0, 255) in colors(sheet)


def test_long_texts_stay_inside_their_cell() -> None:
    long = "word " * 60 + "x" * 400
    rows = [row(SheetCell(name="candidate 1", status="done", data=png("gray"), reason=long))]
    rows = [SheetRow(scene_name=long, scene=None, cells=rows[0].cells, note=long)]
    image = Image.open(io.BytesIO(contact_sheet(rows, header=SheetHeader(title=long, subtitle=long))))
    paper = image.getpixel((1, 1))
    margin = image.crop((image.width - 38, 0, image.width, image.height))
    assert margin.getcolors(1 << 20) == [(margin.width * margin.height, paper)]


def test_transparent_and_odd_pictures_are_shown() -> None:
    cells = (
        SheetCell(name="candidate 1", status="done", data=png("red", (1, 1), "RGBA")),
        SheetCell(name="candidate 2", status="done", data=png("red", (3000, 2))),
    )
    assert (255, 0, 0) in colors(contact_sheet([row(*cells)]))


def test_no_rows_are_still_a_picture() -> None:
    assert Image.open(io.BytesIO(contact_sheet([]))).width > 0


def test_the_built_in_font_scales() -> None:
    assert isinstance(ImageFont.load_default(20), ImageFont.FreeTypeFont)
