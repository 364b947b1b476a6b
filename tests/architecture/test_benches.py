"""Nothing in bench/ is left out of `make bench` and of its smoke run."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "bench"


def tree(name: str) -> ast.Module:
    return ast.parse((BENCH / f"{name}.py").read_text())


def support() -> set[str]:
    """The names that the report leaves out."""
    (given,) = [
        node.value
        for node in tree("report").body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "SUPPORT"
    ]
    assert isinstance(given, ast.Call)
    return set(ast.literal_eval(given.args[0]))


def measures(name: str) -> list[ast.FunctionDef]:
    return [node for node in tree(name).body if isinstance(node, ast.FunctionDef) and node.name == "measure"]


def names() -> list[str]:
    return sorted(path.stem for path in BENCH.glob("*.py"))


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in names() if name not in support()])
def test_a_bench_measures_small_or_whole_and_says_what_it_compares(name: str) -> None:
    (measure,) = measures(name)
    assert [argument.arg for argument in measure.args.kwonlyargs] == ["smoke"]
    assert measure.args.args == []
    assert ast.get_docstring(tree(name))


def test_what_only_helps_a_bench_measures_nothing() -> None:
    assert support() <= set(names())
    assert [name for name in support() if measures(name)] == []


def test_check_shows_that_the_benches_work_before_it_runs_the_tests() -> None:
    found = re.search(r"^check:(.*?)##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found is not None
    assert found[1].split()[-2:] == ["bench-smoke", "test"]
