"""Rules of the house that no linter knows."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from kroma.pipeline.execution.step_tools import StepTools
from kroma.queue.messages import AnyMessage
from kroma_worker.registry import TASKS

ROOT = Path(__file__).parents[2]
SOURCES = (ROOT / "shared", ROOT / "services")
OUTSIDE = ("sqlalchemy", "kroma.db.engine", "kroma.queue")
SHAPELESS = {"utils", "helpers", "common", "managers", "misc", "base_service", "signals"}


def modules() -> Iterator[Path]:
    for folder in SOURCES:
        yield from folder.rglob("*.py")


def calls(path: Path) -> Iterator[str]:
    """Names of the methods and functions that a module calls."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def test_only_a_migration_commits_by_hand() -> None:
    assert {path.name for path in modules() if "commit" in calls(path)} == {"env.py"}


WRITES_TO_A_TERMINAL = {
    "shared/kroma/cli/console.py",  # all that commands say
    "shared/kroma/terminal.py",  # the last line of a program that does not start
    "shared/kroma/logs.py",  # log lines, made visible there
    "shared/kroma/healthcheck.py",  # the answer of a health check, made visible there
    "services/api/kroma_api/export_openapi.py",  # the OpenAPI document, which is ours, into a file or a pipe
}
PRINTS = re.compile(
    r"(?<![\w.])print\(|\bsys\.(__)?std(out|err)\b|\b(typer|click)\.(echo|secho|prompt|confirm)\b"
    r"|\bwarnings\.warn\(|^\s*(from|import) rich\b|\bstd(out|err)\.write\(|print_exc\("
    r"|/dev/(tty|stdout|stderr)\b",
    re.MULTILINE,
)


def test_text_reaches_a_terminal_through_one_module() -> None:
    found = {str(path.relative_to(ROOT)) for path in modules() if PRINTS.search(path.read_text())}
    assert found == WRITES_TO_A_TERMINAL


def test_nothing_is_pickled() -> None:
    text = re.compile(r"^\s*(import pickle|from pickle)", re.MULTILINE)
    assert [path for path in modules() if text.search(path.read_text())] == []


def test_modules_are_named_after_what_they_are_responsible_for() -> None:
    assert [path for path in modules() if path.stem in SHAPELESS] == []


def test_every_message_has_its_task() -> None:
    importlib.import_module("kroma_worker.main")
    assert set(TASKS) == set(get_args(AnyMessage))


def test_a_message_carries_ids_and_numbers_only() -> None:
    allowed = {"UUID", "int"}
    for message in get_args(AnyMessage):
        assert {kind.__name__ for kind in message.__annotations__.values()} <= allowed


def test_steps_reach_the_outside_world_through_their_tools_alone() -> None:
    steps = ROOT / "shared" / "kroma" / "pipeline" / "steps"
    for path in steps.glob("*.py"):
        imported = {
            node.module or ""
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
        }
        assert not {
            name for name in imported if name.startswith(("sqlalchemy", "kroma.db.engine", "kroma.queue"))
        }
    assert "store" in StepTools.__struct_fields__


@pytest.mark.parametrize("word", ["TODO", "FIXME", "XXX"])
def test_nothing_is_left_for_later_in_a_comment(word: str) -> None:
    pattern = re.compile(rf"#.*\b{word}\b")
    assert [path for path in modules() if pattern.search(path.read_text())] == []


NOT_OURS = {
    "integration/tools/test_commands.py",  # sys.argv
    "unit/storage/test_s3_client.py",  # counts calls inside botocore
}


def test_what_tests_replace_is_injected_not_patched() -> None:
    tests = ROOT / "tests"
    patching = {
        path.relative_to(tests).as_posix()
        for path in tests.rglob("*.py")
        if path != Path(__file__) and re.search(r"\.set(attr|item)\(|\bmock\b.*\bpatch\b", path.read_text())
    }
    assert patching == NOT_OURS
