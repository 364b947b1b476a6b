"""The commands as people type them; each starts picture processes of its own, so there are few."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kroma.cli.main import app, main
from kroma.imaging.provenance import find_record
from support.builders.factories import png, scene_png

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KROMA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("KROMA_CPU_PROCESSES", "1")
    for name, data in {"in/a.png": scene_png(48, 32), "in/sub/b.png": png(), "in/c.png": b"no"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


def ran(*arguments: str) -> tuple[int, dict[str, object]]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_one_bad_file_stops_none_of_the_others(folder: Path) -> None:
    code, told = ran("color", "in", "--profile", "cold_rain")

    assert (code, told["ok"], told["summary"]) == (1, False, {"total": 3, "failed": 1})
    assert sorted(str(path.relative_to(folder)) for path in (folder / "color_corrected").rglob("*.*")) == [
        "color_corrected/a.png",
        "color_corrected/sub/b.png",
    ]


@pytest.mark.usefixtures("folder")
def test_qa_names_what_fails() -> None:
    code, told = ran("qa", "in/sub", "in/c.png")
    failed = [file["input"] for file in told["files"] if not file["ok"]]

    assert (code, failed) == (1, ["in/c.png"])


def test_generate_writes_each_candidate_with_its_record(folder: Path) -> None:
    code, told = ran("generate", "in/a.png", "--provider", "local", "--candidates", "2", "--seed", "3")

    assert (code, told["estimated_usd"]) == (0, 0.0)
    for index in (1, 2):
        record = find_record((folder / f"outputs/a__c{index}.png").read_bytes(), name="a")
        assert record is not None
        assert (record.candidate_index, record.seed, record.provider) == (index, 3, "local")


def test_archive_bad_moves_what_fails(folder: Path) -> None:
    code, told = ran("archive-bad", "in", "--failing")

    assert (code, told["moved_count"]) == (0, 2)
    assert (folder / "in" / "sub" / "b.png").exists()
    assert (folder / "archive" / "bad" / "c_bad.png").read_bytes() == b"no"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(["upscale", "nowhere"], 3, "'nowhere' not found", id="no such file"),
        pytest.param(["color", "in", "--profile", "pink"], 2, "'profile' must be one of", id="wrong option"),
        pytest.param(["generate", "in", "--provider", "none"], 2, "must be one of", id="unknown provider"),
        pytest.param(
            ["generate", "in/a.png", "--provider", "openai"], 1, "would cost about", id="unconfirmed"
        ),
        pytest.param(
            ["generate", "in/a.png", "--provider", "openai", "--confirm-spend"],
            1,
            "must be recorded in the ledger",
            id="no ledger",
        ),
        pytest.param(
            ["bgremove", "in/a.png", "--backends", "removebg"], 1, "an unknown amount", id="a service"
        ),
        pytest.param(["rerun", "in/a.png"], 3, "does not say how it was made", id="no record"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: list[str],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["kroma", *arguments])
    monkeypatch.delenv("KROMA_DATABASE_URL", raising=False)
    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == code
    assert said in capfd.readouterr().err
