"""A simple resource costs seven new files and two edits of shared ones, as docs/contributing.md says."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
GUIDE: Final = ROOT / "docs" / "contributing.md"
OWN: Final = re.compile(r"/chat/\w+\.py$|/chat\.py$|/migrations/versions/")
NAMED: Final = re.compile(
    r"\bkroma\.chat\b|\bchat\.router\b|\bschemas\.chat\b|\bchat_sessions\b|\| chat \||\bas chat\b"
)


def files_naming_the_chat() -> set[str]:
    sources = [ROOT / "pyproject.toml", *(ROOT / "shared").rglob("*.py"), *(ROOT / "services").rglob("*.py")]
    return {str(file.relative_to(ROOT)) for file in sources if NAMED.search(file.read_text())}


def test_a_simple_resource_is_named_in_two_shared_files() -> None:
    shared = {file for file in files_naming_the_chat() if not OWN.search(file)}

    assert shared == {"pyproject.toml", "services/api/kroma_api/app.py"}


def test_a_simple_resource_is_at_most_seven_files() -> None:
    own = [
        file
        for part in ("shared/kroma/chat/*.py", "services/api/kroma_api/*/chat.py")
        for file in ROOT.glob(part)
        if file.stat().st_size
    ]

    assert 4 <= len(own) <= 6, "a migration is the seventh"


def test_every_path_in_the_guide_exists() -> None:
    named = re.findall(r"`((?:shared|services|tests|docs)/[\w./-]+)`", GUIDE.read_text())

    assert len(named) > 15
    assert [path for path in named if not (ROOT / path).exists()] == []
