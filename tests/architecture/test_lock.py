import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
WANTED = [
    *PROJECT["project"]["dependencies"],
    *(wanted for extra in PROJECT["project"]["optional-dependencies"].values() for wanted in extra),
    *PROJECT["dependency-groups"]["dev"],
    *PROJECT["build-system"]["requires"],
]


def name_of(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


@pytest.mark.parametrize("requirement", sorted(set(map(name_of, WANTED))))
def test_the_lock_pins_what_the_project_asks_for(requirement: str) -> None:
    assert re.search(rf"^{re.escape(requirement)}(\[.*\])?==", LOCK, re.MULTILINE)


def test_every_pin_has_a_hash_and_no_line_names_an_address() -> None:
    pins = re.split(r"^(?=\S)", LOCK, flags=re.MULTILINE)[1:]
    assert [pin.splitlines()[0] for pin in pins if "--hash=sha256:" not in pin] == []
    assert "://" not in LOCK
    assert "index-url" not in LOCK
