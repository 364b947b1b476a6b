import stat
import subprocess
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy/compose-secrets"


def made(folder: Path) -> dict[str, str]:
    """What the script leaves in the folder."""
    subprocess.run(["sh", SCRIPT, folder], check=True, capture_output=True, timeout=20)
    return {file.name: file.read_text() for file in folder.iterdir()}


@pytest.mark.timeout(60)
def test_secrets_are_random_and_made_once(tmp_path: Path) -> None:
    first, second = made(tmp_path / "one"), made(tmp_path / "two")
    assert first == made(tmp_path / "one")
    assert not set(first.values()) & set(second.values())
    assert all(len(secret) >= 20 for secret in first.values())


@pytest.mark.timeout(60)
def test_secrets_lie_in_a_folder_that_is_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    kept = made(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    # The containers' users are not the one who runs compose, which mounts each file as it is.
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in kept} == {0o444}


@pytest.mark.timeout(60)
def test_the_master_key_has_the_form_that_kroma_reads(tmp_path: Path) -> None:
    assert len(urlsafe_b64decode(made(tmp_path / "secrets")["master_key"])) == 32
