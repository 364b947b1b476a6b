"""``kroma inspect``: what a picture says of its making, and whether it was changed since."""

import json
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner

from kroma.cli.main import app
from kroma.imaging.provenance import ParentRecord, PictureRecord, sealed
from support.builders import corpus
from support.builders.factories import jpeg, png, scene_png

RUN = UUID(int=5)


def made(data: bytes, **fields: object) -> tuple[bytes, bytes]:
    """A picture with its record, and what lies beside it."""
    parents = (ParentRecord(role="scene", path="scenes/a.png", sha256="ab" * 32),)
    record = PictureRecord(step="generate", run_id=RUN, prompt="in [ink]", seed=7, parents=parents, **fields)
    picture = sealed(data, record)
    return picture.data, picture.sidecar("image/png")


def ran(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["inspect", *map(str, arguments)], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_a_picture_tells_how_it_was_made(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(made(scene_png(64, 96))[0])
    code, output = ran(file)

    assert code == 0
    for text in ("unchanged since it was made", str(RUN), "in [ink]", "scenes/a.png", "64x96 px", "seed"):
        assert text in output


def test_json_has_the_whole_record(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(made(png())[0])
    code, output = ran(file, "--json")
    told = json.loads(output)

    assert (code, told["ok"], told["state"], told["source"]) == (0, True, "unchanged", "picture")
    assert (told["record"]["run_id"], told["record"]["seed"], told["is_whole"]) == (str(RUN), 7, None)
    assert told["record"]["parents"][0]["sha256"] == "ab" * 32


def test_a_picture_that_was_changed_says_so_and_fails(tmp_path: Path) -> None:
    data = bytearray(made(scene_png())[0])
    data[-40] ^= 1
    file = tmp_path / "a.png"
    file.write_bytes(data)
    code, output = ran(file)

    assert code == 1
    assert "changed: the pixels are not the ones that were made" in output


def test_a_record_that_was_edited_says_so_and_fails(tmp_path: Path) -> None:
    data = made(png())[0]
    at = data.index(b"in [ink]")
    file = tmp_path / "a.png"
    file.write_bytes(data[:at] + b"in [oil]" + data[at + 8 :])
    code, output = ran(file)

    assert code == 1
    assert "the record is not the one that was written" in output


@pytest.mark.parametrize("edited", [False, True])
def test_a_format_without_room_for_a_record_is_told_by_the_file_beside_it(
    tmp_path: Path, *, edited: bool
) -> None:
    data, beside = made(jpeg())
    file = tmp_path / "a.jpg"
    file.write_bytes(data + (b"x" if edited else b""))
    (tmp_path / "a.jpg.json").write_bytes(beside)
    code, output = ran(file, "--json")
    told = json.loads(output)

    assert (code, told["source"]) == (int(edited), "sidecar")
    assert (told["state"], told["is_whole"]) == (
        ("picture_changed", False) if edited else ("unchanged", True)
    )


def test_a_picture_that_says_nothing_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(png())
    code, output = ran(file)

    assert code == 3
    assert "a.png' does not say how it was made" in output.replace("\n", "")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, output = ran(tmp_path / "none.png")

    assert code == 1
    assert "none.png': No such file" in output.replace("\n", "")


def test_of_several_files_each_is_told_and_the_worst_counts(tmp_path: Path) -> None:
    good, bare = tmp_path / "a.png", tmp_path / "b.png"
    good.write_bytes(made(png())[0])
    bare.write_bytes(png())
    code, output = ran(good, bare, "--json")

    assert code == 3
    assert [told["ok"] for told in json.loads(output)] == [True, False]


@pytest.mark.parametrize("name", corpus.SAMPLES)
def test_any_file_gets_an_answer(tmp_path: Path, name: str) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(corpus.sample(name).data)
    code, output = ran(file, "--json")

    assert (code, json.loads(output)["error_code"]) == (3, "no_record")


@pytest.mark.parametrize("name", corpus.GOOD)
def test_any_good_picture_can_be_sealed_and_told(tmp_path: Path, name: str) -> None:
    data, beside = made(corpus.sample(name).data)
    file = tmp_path / "a.png"
    file.write_bytes(data)
    (tmp_path / "a.png.json").write_bytes(beside)
    code, output = ran(file, "--json")

    assert (code, json.loads(output)["is_whole"]) == (0, True)
