"""Other users of the machine read nothing of what `kroma up` keeps."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kroma.storage.roots import KEPT
from support.servers.kroma_stack import Project, Up

pytestmark = pytest.mark.timeout(240)


def entries(folder: Path) -> Iterator[Path]:
    """Everything below a folder, symlinks apart; what a server removes meanwhile is left out."""
    for path, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if not (entry := Path(path, name)).is_symlink() and entry.exists():
                yield entry


def open_to_others(data_dir: Path) -> list[str]:
    return [
        f"{stat.S_IMODE(entry.stat().st_mode):o} {entry}"
        for entry in entries(data_dir)
        if entry.stat().st_mode & 0o077
    ]


def is_closed(data_dir: Path) -> bool:
    """As root the database's account has to pass through it, and still reads nothing."""
    return stat.S_IMODE(data_dir.stat().st_mode) == (0o711 if os.geteuid() == 0 else 0o700)


def worked_with(up: Up) -> Project:
    """A project in which about everything was done that writes files."""
    project = Project(up, "Private")
    picture = (project.root / "scenes/harbor.png").read_bytes()
    body = {"file": ("harbor.png", picture, "image/png")}
    asset = project.client.post(f"{project.path}/assets", files=body).raise_for_status().json()
    asset_id = asset["assets"][0]["id"]
    project.client.get(f"{project.path}/assets/{asset_id}/thumbnail").raise_for_status()
    project.client.post(
        f"{project.path}/secrets", json={"provider_code": "x", "secret_name": "y", "secret_value": "z"}
    ).raise_for_status()
    project.trigger(postprocess={"upscale": True, "color": True}).raise_for_status()
    project.client.close()
    return project


def test_nothing_in_the_data_directory_is_open_to_others(start_up: Callable[..., Up]) -> None:
    up = start_up().ready()
    project = worked_with(up)
    # The folders that the artist made are as open as they made them, behind one that nobody passes.
    artists = [project.root, project.root / "scenes", project.root / "styles"]
    mine = {str(path) for path in (*artists, *entries(artists[1]), *entries(artists[2]))}
    assert [line for line in open_to_others(up.data_dir) if line.partition(" ")[2] not in mine] == []
    assert is_closed(up.data_dir)
    assert [
        key for key in ("outputs", "runs", ".kroma/thumbnails") if not (project.root / key).is_dir()
    ] == []
    names = {path.name for path in up.data_dir.iterdir()}
    assert {name for name in names if "." not in name} <= KEPT


def test_an_installation_from_before_is_closed_at_its_start(start_up: Callable[..., Up]) -> None:
    up = start_up().ready()
    worked_with(up)
    up.stop()
    for entry in entries(up.data_dir):
        if not entry.is_relative_to(up.data_dir / "postgres"):
            entry.chmod(0o755 if entry.is_dir() else 0o644)
    up.data_dir.chmod(0o755)
    outside = up.data_dir.parent / f"{up.data_dir.name}.beside"
    outside.write_text("mine")
    outside.chmod(0o644)
    (up.data_dir / "var/projects/private/link").symlink_to(outside)

    start_up().ready()

    assert open_to_others(up.data_dir) == []
    assert is_closed(up.data_dir)
    assert stat.S_IMODE(outside.stat().st_mode) == 0o644


def test_what_else_lies_in_a_data_directory_stays_as_it_is(start_up: Callable[..., Up]) -> None:
    up = start_up()
    up.data_dir.mkdir(mode=0o755, exist_ok=True)
    up.data_dir.chmod(0o755)
    holiday = up.data_dir / "holiday"
    holiday.mkdir(mode=0o755)
    up.ready()

    assert stat.S_IMODE(holiday.stat().st_mode) == 0o755
    assert stat.S_IMODE((up.data_dir / "var").stat().st_mode) == 0o700


def test_a_root_elsewhere_is_as_open_as_the_artist_made_it(start_up: Callable[..., Up]) -> None:
    up = start_up().ready()
    project = Project(up, "Shared")
    root = up.data_dir.parent / f"{up.data_dir.name}.shared"
    for mode in (0o750, 0o700):
        (root / f"{mode:o}").mkdir(parents=True)
        (root / f"{mode:o}").chmod(mode)
        project.client.put(
            f"{project.path}/storage/local", json={"project_root": str(root / f"{mode:o}")}
        ).raise_for_status()
        picture = (project.root / "scenes/harbor.png").read_bytes()
        body = {"file": ("harbor.png", picture, "image/png")}
        project.client.post(f"{project.path}/assets", files=body).raise_for_status()
        made = list(entries(root / f"{mode:o}"))
        assert made
        assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_dir()} == {mode}
        assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_file()} == {mode & 0o640}
    project.client.close()
