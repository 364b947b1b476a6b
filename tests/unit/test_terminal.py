"""Text of strangers on a terminal."""

import json
import logging
import unicodedata
from io import StringIO

import pytest
import structlog

from kroma.cli.console import bars, show_table
from kroma.config import LogOptions
from kroma.logs import PlainLines, configure_logs
from kroma.terminal import json_text, visible

HOSTILE = [
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *map(chr, (0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF, 0xE0041)),
    "\ud800",
    "\udcff",
]


@pytest.mark.parametrize("character", HOSTILE, ids=lambda character: f"{ord(character):x}")
def test_no_control_character_leaves_as_one(character: str) -> None:
    shown = visible(f"a{character}b")

    assert shown.isprintable()
    assert f"{ord(character):x}" in shown
    told = json_text({"name": f"a{character}b"})
    assert told.isprintable()
    if not 0xD800 <= ord(character) <= 0xDFFF:
        assert json.loads(told) == {"name": f"a{character}b"}


def test_only_lines_may_keep_their_ends() -> None:
    assert visible("a\n\tb\x1b\r", lines=True) == "a\n\tb\\x1b\\x0d"
    assert visible("a\n\tb") == "a\\x0a\\x09b"


@pytest.mark.parametrize(
    "text", ["plain", "Straße", "日本語", "שלום", "a‌b", "👩‍🚀", "back\\slash", "[bold]x[/]"]
)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert visible(text) == text
    assert json.loads(json_text(text)) == text


def test_every_control_and_direction_of_unicode_is_covered() -> None:
    bidi = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
    for number in range(0x11_0000):
        character = chr(number)
        is_control = unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}
        if is_control or unicodedata.bidirectional(character) in bidi:
            assert visible(character) != character, hex(number)


def test_a_table_shows_cells_and_titles_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    cell = "\x1b]0;owned\x07[bold red]x[/]\u202e"
    show_table([(cell, (cell, "green")), None], headings=("a", "b"), title="t")

    output = capsys.readouterr().out
    assert "\x1b" not in output
    assert "\u202e" not in output
    assert "".join(output.split()).count("[boldred]x[/]") == 2


def test_bars_take_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    with bars(stays=True) as shown:
        bar = shown.add("[red]\x1b[2J", total=2)
        shown.show(bar, done=1, label="[link=http://evil]\x1b[2J", told="[bold]\u202e")

    output = capsys.readouterr().out
    assert "[link=http://evil]\\x1b[2J" in output
    assert "[bold]\\u202e" in output


@pytest.mark.parametrize("format_", ["console", "json"])
def test_log_lines_show_what_they_are_given(format_: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    def fail() -> None:
        raise ValueError("\x1b]0;owned\x07")

    configure_logs(LogOptions(format=format_))
    structlog.get_logger("x").warning("ev\x1b[2J", label="\u202e\x9b\x7f\udcff", many=["\x1b"])
    try:
        fail()
    except ValueError:
        structlog.get_logger("x").exception("lost")
    output = capfdbinary.readouterr().out.decode()

    assert "owned" in output
    assert [part for part in output if part != "\n" and not part.isprintable()] == []


def test_a_library_s_line_is_shown_too() -> None:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PlainLines("%(levelname)s %(message)s"))
    handler.emit(logging.LogRecord("some", logging.WARNING, "x.py", 1, "it\x1b[2J\nso", (), None))

    assert stream.getvalue() == "WARNING it\\x1b[2J\nso\n"
