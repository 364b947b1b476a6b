"""What a killed writer leaves, and who removes it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kroma.storage.directory import DirectoryStore
from kroma.storage.temp_files import PREFIX, Sweeper, UnfinishedFile

pytestmark = pytest.mark.timeout(30)

DIES = """
import os, sys
from kroma.storage.temp_files import UnfinishedFile
UnfinishedFile(sys.argv[1]).write(b"half of a pict")
os._exit(9)
"""


def aged(path: Path) -> Path:
    """Not written to for a minute."""
    long_ago = time.time() - 60
    os.utime(path, (long_ago, long_ago))
    return path


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A file whose writer died."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    subprocess.run([sys.executable, "-c", DIES, str(folder)], check=False)
    (path,) = folder.iterdir()
    assert path.name.startswith(PREFIX)
    return path


async def test_the_next_put_in_the_folder_removes_what_a_dead_writer_left(left: Path) -> None:
    aged(left)

    await DirectoryStore(left.parent.parent).put("outputs/a.png", b"x")

    assert names_in(left.parent) == ["a.png"]


async def test_looking_whether_a_place_can_be_written_removes_it_too(left: Path) -> None:
    aged(left)

    await DirectoryStore(left.parent.parent).check_writable()

    assert names_in(left.parent) == []


def test_a_young_file_stays_until_it_is_looked_at_again(left: Path) -> None:
    sweeper = Sweeper()

    sweeper.sweep(str(left.parent))
    assert left.exists()

    aged(left)
    sweeper.sweep(str(left.parent))
    assert not left.exists()


def test_a_file_whose_writer_lives_stays_however_old_it_is(tmp_path: Path) -> None:
    writing = UnfinishedFile(str(tmp_path))
    writing.write(b"half")
    (path,) = tmp_path.iterdir()
    aged(path)

    Sweeper().sweep(str(tmp_path))
    assert path.exists()

    writing.finish(str(tmp_path / "whole"))
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_a_folder_that_was_clean_is_not_looked_through_again(tmp_path: Path) -> None:
    sweeper = Sweeper()
    sweeper.sweep(str(tmp_path))
    late = tmp_path / f"{PREFIX}0123456789abcdef"
    late.write_bytes(b"")
    aged(late)

    sweeper.sweep(str(tmp_path))

    assert late.exists()


def test_a_file_that_is_closed_takes_nothing_more(tmp_path: Path) -> None:
    writing = UnfinishedFile(str(tmp_path))
    writing.discard()

    writing.write(b"late")
    writing.finish(str(tmp_path / "whole"))
    writing.discard()

    assert list(tmp_path.iterdir()) == []
