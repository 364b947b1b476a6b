"""Every package has a map, every page is linked, and every retired word is explained."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import copy2

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGES = sorted(path for folder in ("shared", "services") for path in (ROOT / folder).rglob("__init__.py"))
PAGES = [*ROOT.glob("*.md"), *DOCS.glob("*.md"), *DOCS.glob("decisions/README.md")]
MOST_LINES = 10
"""Of a map; a table of modules, indented behind ``::``, does not count."""
each_package = pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.parent.relative_to(ROOT).as_posix()) for path in PACKAGES]
)


def package_map(path: Path) -> list[str]:
    """The lines of a package's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return [line for line in docstring.splitlines() if line]


def named_modules(path: Path) -> Iterator[str]:
    """The modules that a map names: ``x.py`` anywhere, and the first column of its table."""
    for line in package_map(path):
        yield from re.findall(r"``([\w/]+\.py)``", line)
        if column := re.match(r" {4}(\w+) ", line):
            yield f"{column[1]}.py"


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """The files of this repository that a page links to, each with the heading behind ``#``."""
    for target, _, heading in re.findall(r"\]\(([^)#\s]*)(#([^)\s]+))?\)", page.read_text()):
        if "://" not in target:
            yield (page.parent / target).resolve() if target else page, heading


def headings(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@each_package
def test_a_package_says_what_lives_in_it(path: Path) -> None:
    prose = [line for line in package_map(path) if not line.startswith("    ")]
    assert 1 <= len(prose) <= MOST_LINES


@each_package
def test_a_map_names_modules_that_exist(path: Path) -> None:
    beside = (path.parent, ROOT)
    missing = [name for name in named_modules(path) if not any((at / name).is_file() for at in beside)]
    assert missing == []


def test_every_page_is_linked_from_another() -> None:
    linked = {target for page in PAGES for target, _ in links(page) if target != page}
    assert [page for page in DOCS.rglob("*.md") if page not in linked] == []


@pytest.mark.parametrize("page", [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in PAGES])
def test_a_link_leads_somewhere(page: Path) -> None:
    assert [target for target, _ in links(page) if not target.exists()] == []
    named = [(target, heading) for target, heading in links(page) if heading and target.suffix == ".md"]
    assert [heading for target, heading in named if heading not in headings(target)] == []


def test_the_page_of_the_architecture_names_files_that_exist() -> None:
    text = (DOCS / "architecture.md").read_text()
    named = {name for name in re.findall(r"`([\w/]+(?:\.py)?)`", text) if "/" in name}
    below = (ROOT, ROOT / "shared/kroma", ROOT / "shared/kroma/pipeline", ROOT / "services/api")
    below += (ROOT / "services/worker", ROOT / "shared")
    assert {name for name in named if not any((at / name).exists() for at in below)} == set()
    assert len(named) > 25


def test_the_index_of_decisions_has_each_once_and_in_order() -> None:
    index = (DOCS / "decisions" / "README.md").read_text()
    titles = dict(re.findall(r"^\| \[(\d{4})\]\(\1-\S+\.md\) \| (.+?) \|", index, re.MULTILINE))
    records = sorted(DOCS.glob("decisions/0*.md"))
    assert titles == {
        path.name[:4]: path.read_text().splitlines()[0].removeprefix(f"# {path.name[:4]} ")
        for path in records
    }
    assert list(titles) == sorted(titles)


def retired_words() -> list[str]:
    """The first column of the glossary's table of retired words."""
    _, _, table = (DOCS / "glossary.md").read_text().partition("## Retired words")
    rows = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    return [word for row in rows for word in re.findall(r"`([^`]+)`", row)]


def test_the_glossary_lists_each_retired_word_once() -> None:
    words = retired_words()
    assert len(words) == len(set(words))
    assert len(words) >= 20


def test_the_glossary_explains_each_term_once() -> None:
    terms, _, _ = (DOCS / "glossary.md").read_text().partition("## Retired words")
    explained = re.findall(r"^\| \*\*(.+?)\*\* \|", terms, re.MULTILINE)
    assert len(explained) == len(set(explained))
    assert set(explained) & set(retired_words()) == set()


def test_the_picture_of_the_layers_is_checked_against_the_contracts(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in ("pyproject.toml", "docs/architecture.md", "docs/draw_layers.py"):
        copy2(ROOT / name, tmp_path / name)

    def draw(*options: str) -> int:
        command = [sys.executable, tmp_path / "docs" / "draw_layers.py", *options]
        return subprocess.run(command, timeout=30, check=False, capture_output=True).returncode

    assert draw("--check") == 0
    contracts = (tmp_path / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(contracts.replace('"control", ', '"control", "between", '))
    assert draw("--check") == 1
    assert draw() == 0
    assert draw("--check") == 0
    assert '["between"]' in (tmp_path / "docs" / "architecture.md").read_text()
