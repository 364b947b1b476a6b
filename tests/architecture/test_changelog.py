"""CHANGELOG.md keeps the form of Keep a Changelog, and every release has its section."""

import re
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

import kroma

TEXT = (Path(__file__).parents[2] / "CHANGELOG.md").read_text()
HEADING = re.compile(r"## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})")
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
LONGEST = 200
"""Of a released change, in characters: what does not fit belongs on a page of its own."""


def sections() -> dict[str, list[str]]:
    """The lines below each heading of the second level."""
    _, *parts = re.split(r"^(?=## )", TEXT, flags=re.MULTILINE)
    return {heading: lines for heading, *lines in (part.splitlines() for part in parts)}


HEADINGS = list(sections())
RELEASES = [released.groups() for heading in HEADINGS if (released := HEADING.fullmatch(heading))]
each_section = pytest.mark.parametrize("heading", HEADINGS)


def test_the_version_of_the_code_is_the_newest_release() -> None:
    assert RELEASES[0][0] == kroma.__version__


def test_what_is_not_released_comes_first_and_then_the_newest() -> None:
    assert HEADINGS[0] == "## [Unreleased]"
    assert len(RELEASES) == len(HEADINGS) - 1
    dates = [date.fromisoformat(released_on) for _, released_on in RELEASES]
    versions = [tuple(map(int, version.split("."))) for version, _ in RELEASES]
    assert all(newer >= older for newer, older in pairwise(dates))
    assert all(newer > older for newer, older in pairwise(versions))


@each_section
def test_a_section_sorts_its_changes_by_kind_each_kind_once(heading: str) -> None:
    kinds = [line.removeprefix("### ") for line in sections()[heading] if line.startswith("#")]
    assert set(kinds) <= KINDS
    assert len(kinds) == len(set(kinds))


@each_section
def test_a_change_is_one_line(heading: str) -> None:
    lines = [line for line in sections()[heading] if line and not line.startswith("### ")]
    assert [line for line in lines if not re.fullmatch(r"- [^a-z ].*", line)] == []
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize("heading", HEADINGS[1:])
def test_a_released_change_is_short(heading: str) -> None:
    released = [re.sub(r"\]\([^)]*\)", "]", line) for line in sections()[heading]]
    assert [line for line in released if len(line) > LONGEST] == []
