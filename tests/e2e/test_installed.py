"""The wheel in an empty environment outside the sources: what a user gets who installs Kroma."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from kroma.cli.demo import PHOTOGRAPHS, REFERENCES
from style_references import style_reference
from support.builders.factories import scene_png
from support.servers.kroma_stack import Project, Up, environment, is_alive

pytestmark = pytest.mark.timeout(300)  # a minute where pip has to fetch; seconds where uv finds its cache

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
WITHOUT_SOURCES = {"PYTHONPATH": ""}


def done(*command: str | Path, cwd: Path, **variables: str) -> str:
    """What a command that must succeed prints."""
    ended = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment(WITHOUT_SOURCES | variables),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    return ended.stdout


def installed_by_uv(uv: str, requirement: str, folder: Path) -> Path:
    """As README.md tells a user. `make install` left all wheels in uv's cache, so no network is needed."""
    folders = {"UV_TOOL_DIR": str(folder / "tools"), "UV_TOOL_BIN_DIR": str(folder / "bin")}
    command = (uv, "tool", "install", "--python", sys.executable, "--constraints", LOCK, requirement)
    try:
        done(*command, "--offline", cwd=folder, **folders)
    except AssertionError:  # a cache that was cleaned since
        done(*command, cwd=folder, **folders)
    return folder / "tools" / "kroma-studio"


def installed_by_pip(requirement: str, folder: Path) -> Path:
    pins = folder / "pins.txt"
    # With hashes among its constraints pip would want one for the wheel too.
    pins.write_text(
        "".join(f"{pin}\n" for pin in re.findall(r"^(\S+==.*?) *\\$", LOCK.read_text(), re.MULTILINE))
    )
    done(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    pip = (folder / "venv" / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check")
    done(*pip, "--only-binary", ":all:", "--constraint", pins, requirement, cwd=folder)
    return folder / "venv"


@pytest.fixture(scope="module")
def installation(stack_folder: Path) -> Path:
    """An environment that holds the wheel with its extras, what these need, and nothing else."""
    folder = stack_folder / "installation"
    folder.mkdir()
    done(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "dist", cwd=ROOT)
    (wheel,) = (folder / "dist").iterdir()
    requirement = f"{wheel}[embedded,demo]"
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return installed_by_uv(uv, requirement, folder) if uv else installed_by_pip(requirement, folder)


@pytest.fixture
def kroma(installation: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs the installed command in a folder of its own."""
    return lambda *arguments: done(installation / "bin" / "kroma", *arguments, cwd=tmp_path)


def test_nothing_in_an_installation_comes_from_the_sources(installation: Path, tmp_path: Path) -> None:
    packages = "kroma", "kroma_api", "kroma_worker", "skimage"
    imports = f"import json, sys, {', '.join(packages)}\n"
    says = f"print(json.dumps([sys.path, [package.__file__ for package in ({', '.join(packages)})]]))"
    path, files = json.loads(done(installation / "bin" / "python", "-c", imports + says, cwd=tmp_path))
    assert [entry for entry in path if Path(entry or tmp_path).is_relative_to(ROOT)] == []
    assert [file for file in files if not Path(file).is_relative_to(installation)] == []
    assert (Path(files[0]).parent / "py.typed").exists()
    shipped = {path.name: path.read_bytes() for path in (Path(files[0]).parent / "cli/references").iterdir()}
    assert shipped == {path.name: path.read_bytes() for path in REFERENCES.iterdir()}
    assert [name for name in PHOTOGRAPHS if not (Path(files[-1]).parent / "data" / name).is_file()] == []


def test_the_installed_command_redraws_a_scene(kroma: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "harbor.png").write_bytes(scene_png(96, 64))
    (tmp_path / "ink.png").write_bytes(style_reference("noir ink", size=(120, 160)))
    (written,) = kroma("generate", "harbor.png", "--style", "ink.png").splitlines()
    with Image.open(tmp_path / written) as picture:
        assert (picture.format, picture.size) == ("PNG", (96, 64))


def test_an_installed_stack_starts_makes_a_run_and_leaves_nothing_behind(
    installation: Path, start_up: Callable[..., Up]
) -> None:
    up = start_up(program=[str(installation / "bin" / "kroma")], **WITHOUT_SOURCES).ready()
    project = Project(up, "Installed")
    with closing(project.client):
        reply = project.trigger(candidates=1)
        assert reply.json()["run"]["status"] == "ok", reply.text
        assets = project.get("/assets?kind=job_final_output")["assets"]
    assert len(assets) == 2
    for asset in assets:
        Image.open(project.root / asset["rel_path"]).verify()
    pids = up.all_pids()
    assert up.stop(signal.SIGTERM) == 0
    assert [pid for pid in pids if is_alive(pid)] == []
