"""Names, records and labels that hold terminal escapes, through the commands as people run them."""

import asyncio
import os
import pty
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from kroma.auth.service import create_token
from kroma.db.engine import Database
from kroma.imaging.provenance import ParentRecord, PictureRecord, sealed
from support.builders.factories import png, scene_png
from support.servers.api_process import environment

pytestmark = pytest.mark.timeout(180)

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u2066\x7f[bold red]"
NAME = f"a{ESCAPES}.png"


def ran(folder: Path, *arguments: str | bytes, **variables: str) -> tuple[int, str]:
    """A command's exit code and all it wrote, which holds nothing that a terminal obeys."""
    done = subprocess.run(
        [sys.executable, "-m", "kroma.cli", *arguments],
        cwd=folder,
        env={**environment(folder / "data", **variables), "KROMA_CPU_PROCESSES": "1", "COLUMNS": "400"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    output = (done.stdout + done.stderr).decode()
    assert [part for part in output if part != "\n" and not part.isprintable()] == []
    return done.returncode, output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / NAME).write_bytes(png())
    (tmp_path / "in" / f"bad{ESCAPES}.png").write_bytes(b"no")
    return tmp_path


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["for people", "for programs"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param(["qa", "in"], 1, id="qa"),
        pytest.param(["color", "in", "--profile", "cold_rain"], 1, id="color"),
        pytest.param(["archive-bad", "in", "--failing"], 0, id="archive-bad"),
        pytest.param(["inspect", f"in/{NAME}"], 3, id="inspect"),
        pytest.param(["inspect", "in/gone\udcff" + ESCAPES], 1, id="a name that is no UTF-8"),
        pytest.param(["upscale", f"nowhere{ESCAPES}"], 3, id="no such file"),
        pytest.param(["rerun", f"in/{NAME}"], 3, id="rerun"),
    ],
)
def test_names_of_files_are_shown(folder: Path, arguments: list[str], code: int, as_json: list[str]) -> None:
    found, output = ran(folder, *map(os.fsencode, arguments), *as_json)

    assert found == code
    assert "owned" in output


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([f"no{ESCAPES}command"], id="command"),
        pytest.param(["qa", f"--no{ESCAPES}option"], id="option"),
        pytest.param(["token", "show", f"{ESCAPES}"], id="argument"),
    ],
)
def test_wrong_use_is_shown(folder: Path, arguments: list[str]) -> None:
    code, output = ran(folder, *arguments)

    assert code == 2
    assert "owned" in output


def test_a_setting_is_shown(folder: Path) -> None:
    code, output = ran(folder, "doctor", KROMA_FACE_MODEL=ESCAPES, KROMA_FACE_MODEL_SHA256="0" * 64)
    assert code in {0, 1}
    code, output = ran(folder, "migrate", KROMA_DATABASE_URL=f"postgresql://u@127.0.0.1:1/{ESCAPES}")

    assert code == 2
    assert "KROMA_DATABASE_URL" in output


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["for people", "for programs"])
def test_a_picture_s_own_record_is_shown(tmp_path: Path, as_json: list[str]) -> None:
    record = PictureRecord(
        step="generate",
        run_id=UUID(int=5),
        prompt=f"in {ESCAPES}",
        model=ESCAPES,
        parents=(ParentRecord(role="scene", path=f"scenes/{ESCAPES}", sha256="ab" * 32),),
    )
    (tmp_path / "a.png").write_bytes(sealed(scene_png(64, 96), record).data)

    code, output = ran(tmp_path, "inspect", "a.png", *as_json)

    assert code == 0
    assert output.count("owned") == 3
    assert output.count("[bold red]") == 3


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["for people", "for programs"])
async def test_labels_of_tokens_are_shown(
    tmp_path: Path, fresh_db: Database, fresh_database_url: str, as_json: list[str]
) -> None:
    async with fresh_db.transaction() as session:
        await create_token(session, label=f"art{ESCAPES}")

    code, output = await asyncio.to_thread(
        ran, tmp_path, "token", "list", *as_json, KROMA_DATABASE_URL=fresh_database_url
    )

    assert code == 0
    assert "owned" in output
    assert "[bold red]" in output


def test_a_fault_of_ours_is_shown_with_where_it_happened(tmp_path: Path) -> None:
    raising = (
        "import sys; from kroma.cli import main, doctor\n"
        "@main.app.command('fault')\n"
        "def fault() -> None:\n"
        f"    secret = 'in-a-local'; raise LookupError({ESCAPES!r})\n"
        "sys.argv = ['kroma', 'fault']; main.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", raising],
        env=environment(tmp_path),
        capture_output=True,
        timeout=60,
        check=False,
    )
    output = done.stderr.decode()

    assert done.returncode == 1
    assert "LookupError: \\x1b]0;owned" in output
    assert "in-a-local" not in output
    assert [part for part in output if part != "\n" and not part.isprintable()] == []


def test_a_terminal_is_given_no_escape_but_ours(folder: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "kroma.cli", "qa", "in"],
        cwd=folder,
        env={**environment(folder / "data"), "KROMA_CPU_PROCESSES": "1", "TERM": "xterm"},
        stdout=theirs,
        stderr=theirs,
        stdin=subprocess.DEVNULL,
    ):
        os.close(theirs)
        output = b""
        try:
            while part := os.read(ours, 65536):
                output += part
        except OSError:  # the other side is closed
            pass
    os.close(ours)

    assert b"owned" in output
    for escape in (b"\x1b]0;owned", b"\x1b[2J", "\x9b".encode(), "\u202e".encode(), b"\x7f"):
        assert escape not in output
