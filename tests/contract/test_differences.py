"""Each row of docs/differences.md names tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "differences.md"


def test_every_difference_names_the_tests_that_hold_it() -> None:
    tests = {
        (path.name, test)
        for path in TESTS.rglob("test_*.py")
        for test in re.findall(r"def (test_\w+)\(", path.read_text())
    }
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]

    assert len(rows) >= 25
    for row in rows:
        held_by = {*re.findall(r"`(test_\w+\.py)::(test_\w+)`", row.split(" | ")[-1])}
        assert held_by, row
        assert held_by <= tests, held_by - tests
