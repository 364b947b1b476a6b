"""Which files a tool works on, and where it writes."""

from pathlib import Path, PurePath

import pytest

from kroma.imaging.errors import PictureTooLargeError
from kroma.imaging.header import MAX_BYTES
from kroma.tools.errors import (
    InputMissingError,
    NoImagesFoundError,
    OutputTakenError,
    OutputTwiceError,
    UnwritableError,
)
from kroma.tools.files import Item, Outputs, collected, moved_to_archive, read_picture


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("in/b.png", "in/a.JPG", "in/sub/c.webp", "in/notes.txt", "in/out/d.png", "other/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def relatives(items: list[Item]) -> list[str]:
    return [str(item.relative) for item in items]


def test_a_folder_gives_its_pictures_in_order_with_their_tree(tree: Path) -> None:
    assert relatives(collected([tree / "in"])) == ["a.JPG", "b.png", "out/d.png", "sub/c.webp"]


def test_the_folder_that_is_written_to_is_left_out(tree: Path) -> None:
    assert "out/d.png" not in relatives(collected([tree / "in"], without=tree / "in" / "out"))


def test_of_several_folders_each_keeps_its_name(tree: Path) -> None:
    found = relatives(collected([tree / "in", tree / "other"]))

    assert {"in/b.png", "other/b.png"} <= set(found)


def test_a_named_file_is_taken_whatever_its_name_and_once(tree: Path) -> None:
    notes = tree / "in" / "notes.txt"

    assert relatives(collected([notes, notes])) == ["notes.txt"]


def test_what_is_not_there_is_named(tree: Path) -> None:
    with pytest.raises(InputMissingError, match="nowhere"):
        collected([tree / "nowhere"])
    (tree / "empty").mkdir()
    with pytest.raises(NoImagesFoundError, match="empty"):
        collected([tree / "empty"])


def test_results_keep_the_tree_of_a_folder(tree: Path) -> None:
    items = collected([tree / "in"])
    outputs = Outputs(tree / "made", items, overwrite=False)
    target = outputs.target(items[-1], "png", mark="__c1")
    outputs.write(target, b"x")

    assert target == tree / "made" / "sub" / "c__c1.png"
    assert target.read_bytes() == b"x"


def test_one_file_may_be_written_to_a_named_file(tree: Path) -> None:
    items = collected([tree / "in" / "b.png"])

    assert Outputs(tree / "new.webp", items, overwrite=False).target(items[0], "png") == tree / "new.webp"


def test_no_file_is_overwritten_unasked(tree: Path) -> None:
    items = collected([tree / "in" / "b.png"])
    outputs = Outputs(tree / "other", items, overwrite=False)
    with pytest.raises(OutputTakenError, match=r"b\.png"):
        outputs.target(items[0], "png")
    with pytest.raises(OutputTakenError):
        outputs.write(tree / "other" / "b.png", b"new")

    assert (tree / "other" / "b.png").read_bytes() == b"other/b.png"
    assert sorted(path.name for path in (tree / "other").iterdir()) == ["b.png"]


def test_a_file_is_overwritten_when_that_was_asked_for(tree: Path) -> None:
    items = collected([tree / "in" / "b.png"])
    outputs = Outputs(tree / "other", items, overwrite=True)
    outputs.write(outputs.target(items[0], "png"), b"new")

    assert (tree / "other" / "b.png").read_bytes() == b"new"


def test_two_inputs_never_share_a_result(tree: Path) -> None:
    (tree / "in" / "b.jpg").write_bytes(b"x")
    items = collected([tree / "in" / "b.png", tree / "in" / "b.jpg"])
    outputs = Outputs(tree / "made", items, overwrite=True)
    outputs.target(items[0], "png")

    with pytest.raises(OutputTwiceError):
        outputs.target(items[1], "png")


def test_a_place_that_cannot_be_written_is_an_error_of_ours(tree: Path) -> None:
    items = collected([tree / "in" / "b.png"])
    outputs = Outputs(tree / "in" / "notes.txt", items, overwrite=False)

    with pytest.raises(UnwritableError):
        outputs.write(outputs.target(items[0], "png"), b"x")


def test_a_file_over_64_mib_is_not_read(tmp_path: Path) -> None:
    huge = tmp_path / "huge.png"
    with huge.open("wb") as file:
        file.truncate(MAX_BYTES + 1)

    with pytest.raises(PictureTooLargeError, match="64 MiB"):
        read_picture(huge)


def test_archived_pictures_take_their_record_along_and_overwrite_nothing(tree: Path) -> None:
    archive = tree / "archive" / "bad"
    (tree / "in" / "b.png.json").write_text("{}")
    first = moved_to_archive(Item(tree / "in" / "b.png", PurePath("b.png")), archive)
    second = moved_to_archive(Item(tree / "other" / "b.png", PurePath("b.png")), archive)

    assert (first.name, second.name) == ("b_bad.png", "b_bad_2.png")
    assert first.read_bytes() == b"in/b.png"
    assert (archive / "b_bad.png.json").is_file()
    assert not (tree / "in" / "b.png").exists()
