"""One meaning per word: what docs/glossary.md retired does not come back, and verbs name what awaits."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
FOLDERS: Final = ("shared", "services", "tests", "bench", "deploy")
OLD_NAMES: Final = Path("shared/kroma/old_names.py")
RETIRED: Final = frozenset(
    """
    place places hands pulse ring rings rung bell eyes shelf shelved desk keeper workshop sight obstacle
    passage lane patience leftover leftovers workplace
    colour colours coloured grey greys cancelled cancelling normalised normalises synchroniser behaviour
    centre
    """.split()  # noqa: SIM905 - a list of words reads as one
)
"""Words of names; ``docs/glossary.md`` has what is said instead."""
ALLOWED: Final = {
    "ring": ("shared/kroma/imaging/", "tests/unit/imaging/"),  # of light around a lamp
    "cancelled": ("asyncio",),
    "cancelling": ("asyncio",),
}
_OF_THE_LIBRARY: Final = frozenset({"CancelledError", "cancelled", "cancelling"})
"""Names of asyncio."""
_IRREGULAR: Final = frozenset(
    """
    begun bought brought built chosen done drawn felt found given gone held kept known led left lost made met
    paid said seen sent shown sought spent taken taught thought told torn won written
    """.split()  # noqa: SIM905 - as above
)
_NO_PARTICIPLES: Final = frozenset({"feed", "need", "embed", "exceed", "proceed", "shed", "speed"})


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            relative = path.relative_to(ROOT)
            if "versions" not in relative.parts and relative not in {
                OLD_NAMES,
                Path("tests/architecture/test_words.py"),
            }:
                yield relative


def words(name: str) -> Iterator[str]:
    for part in name.split("_"):
        yield from (word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", part))


def is_allowed(word: str, name: str, path: Path) -> bool:
    return name in _OF_THE_LIBRARY or str(path).startswith(ALLOWED.get(word, ()))


def test_no_retired_word_is_part_of_a_name() -> None:
    found: set[str] = set()
    for path in sources(*FOLDERS):
        text = (ROOT / path).read_text()
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type != tokenize.NAME or token.string.startswith("test_"):
                continue
            for word in RETIRED.intersection(words(token.string)):
                if not is_allowed(word, token.string, path):
                    found.add(f"{path}: {token.string}")

    assert sorted(found) == []


def is_participle(word: str) -> bool:
    return word in _IRREGULAR or (len(word) > 4 and word.endswith("ed") and word not in _NO_PARTICIPLES)


def test_what_awaits_is_named_by_a_verb() -> None:
    found = [
        f"{path}:{node.lineno} {node.name}"
        for path in sources("shared", "services")
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.AsyncFunctionDef) and is_participle(next(words(node.name), ""))
    ]

    assert found == []


@pytest.mark.parametrize("name", ["_kept", "opened_database", "asked"])
def test_a_participle_is_seen(name: str) -> None:
    assert is_participle(next(words(name)))
