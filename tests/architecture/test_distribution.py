"""What the wheel and the source archive hold, and the name under which they are installed."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = [ROOT / "shared/kroma", ROOT / "services/api/kroma_api", ROOT / "services/worker/kroma_worker"]
NAME = "kroma-studio"


def build(target: str, source: Path, into: Path) -> Path:
    """The wheel or source archive that the backend makes of ``source``, without a network or isolation."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(into)],
        cwd=source,
        capture_output=True,
        timeout=50,
        check=True,
    )
    (built,) = into.iterdir()
    return built


SOURCES = {
    path: path.relative_to(package.parent).as_posix()
    for package in PACKAGES
    for path in package.rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}
"""Each file of the packages and its name in the wheel."""


@pytest.fixture(scope="module")
def source_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Each file of the wheel."""
    with zipfile.ZipFile(build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def metadata(wheel: dict[str, bytes]) -> Message:
    return message_from_bytes(next(wheel[name] for name in wheel if name.endswith(".dist-info/METADATA")))


def test_the_wheel_holds_the_three_packages_and_nothing_else(wheel: dict[str, bytes]) -> None:
    beside = {name.partition(".dist-info/")[2] for name in wheel if ".dist-info/" in name}
    assert {name: wheel[name] for name in wheel if ".dist-info/" not in name} == {
        name: path.read_bytes() for path, name in SOURCES.items()
    }
    assert beside == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}


def test_the_packages_hold_code_and_the_data_it_reads_and_nothing_else() -> None:
    read_at_run_time = {
        "kroma/cli/references/ink-wash.png",
        "kroma/cli/references/noir-ink.png",
        "kroma/migrations/script.py.mako",
        "kroma/providers/data/openai_models.json",
        "kroma/py.typed",
        "kroma_api/py.typed",
        "kroma_worker/py.typed",
    }
    assert {name for path, name in SOURCES.items() if path.suffix != ".py"} == read_at_run_time


def test_the_source_archive_holds_what_the_wheel_is_built_from_and_nothing_else(source_archive: Path) -> None:
    beside = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "PKG-INFO", ".gitignore"}
    with tarfile.open(source_archive) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert names == beside | {path.relative_to(ROOT).as_posix() for path in SOURCES}


def test_the_source_archive_builds_the_same_wheel(
    source_archive: Path, wheel: dict[str, bytes], tmp_path: Path
) -> None:
    with tarfile.open(source_archive) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    with zipfile.ZipFile(build("wheel", source, tmp_path / "built")) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == wheel


def test_the_wheel_is_named_like_nothing_on_the_package_index(metadata: Message) -> None:
    assert metadata["Name"] == NAME
    assert set(metadata.get_all("Provides-Extra", [])) == {"embedded", "demo"}


def test_the_first_page_installs_the_wheel_that_is_built(metadata: Message) -> None:
    built = f"dist/{NAME.replace('-', '_')}-{metadata['Version']}-py3-none-any.whl[embedded]"
    page = (ROOT / "README.md").read_text()
    assert re.findall(r'uv tool install .*"(.+)"', page) == [built]


def test_the_command_keeps_its_name(wheel: dict[str, bytes]) -> None:
    (scripts,) = (wheel[name].decode() for name in wheel if name.endswith("entry_points.txt"))
    assert scripts.split() == ["[console_scripts]", "kroma", "=", "kroma.cli.main:main"]


def test_nothing_tells_a_reader_to_install_the_package_of_that_name_on_the_index() -> None:
    somebody_elses = re.compile(r"\bkroma\[|\binstall +(-\S+ +)*['\"]?kroma(?![\w/-])")
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / ".github").rglob("*.*")]
    code = [path for path in SOURCES if path.suffix != ".png"]
    texts = [*pages, *code, *(ROOT / "deploy").glob("*.*"), ROOT / "Makefile", ROOT / "pyproject.toml"]
    assert [path for path in texts if somebody_elses.search(path.read_text())] == []


def test_hosted_ci_runs_what_a_change_must_pass_on_each_python_that_is_promised(metadata: Message) -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    (job,) = workflow["jobs"].values()
    tested = job["strategy"]["matrix"]["python"]
    prefix = "Programming Language :: Python :: 3."
    promised = [line for line in metadata.get_all("Classifier", []) if line.startswith(prefix)]
    assert [f"Programming Language :: Python :: {version}" for version in tested] == promised
    assert PROJECT["requires-python"] == f">={tested[0]}"
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]


def test_hosted_ci_may_only_read_and_names_its_actions_by_commit() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert [job for job in workflow["jobs"].values() if "permissions" in job] == []
    used = re.findall(r"uses: *(.+)", text)
    assert used
    assert [
        use for use in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)
    ] == []
