"""``kroma ingest FILE`` as a use case."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import select

from kroma.db.engine import Database
from kroma.ingest.service import ingest_file
from kroma.projects.errors import ProjectNotFoundError
from kroma.projects.models import AppUser, Project, ProjectStorage
from kroma.runlog.errors import RunLogInvalidError
from kroma.runs.models import Run
from support.doubles.memory_store import MemoryStores

pytestmark = pytest.mark.timeout(60)

LOGS = Path(__file__).parents[2] / "contract" / "runlogs"


@pytest.fixture
def log(data_dir: Path) -> Path:
    path = data_dir / "var" / "projects" / "lanternfall" / "runs" / "run_1.json"
    path.parent.mkdir(parents=True)
    shutil.copy(LOGS / "g2_run_ok.json", path)
    return path


async def test_a_missing_project_is_made_for_the_local_user(db: Database, data_dir: Path, log: Path) -> None:
    result = await ingest_file(db, MemoryStores(), slug="Lantern Fall", path=log, data_dir=data_dir)

    async with db.transaction() as session:
        owned = select(Project, AppUser, ProjectStorage).join(AppUser).join(ProjectStorage)
        project, user, storage = (await session.execute(owned)).one()
    assert (project.slug, result.project_slug) == ("lantern_fall", "lantern_fall")
    assert (user.username, user.display_name) == ("local", "Local User")
    assert storage.local_base_dir == "var/projects"


async def test_an_existing_project_stays_as_it_is(db: Database, data_dir: Path, log: Path) -> None:
    first = await ingest_file(db, MemoryStores(), slug="lanternfall", path=log, data_dir=data_dir)
    async with db.transaction() as session:
        (await session.scalars(select(Project))).one().description = "by hand"
    second = await ingest_file(db, MemoryStores(), slug="lanternfall", path=log, data_dir=data_dir)

    assert second == first
    async with db.transaction() as session:
        assert (await session.scalars(select(Project.description))).one() == "by hand"


async def test_no_project_is_made_where_none_may_be(db: Database, data_dir: Path, log: Path) -> None:
    with pytest.raises(ProjectNotFoundError):
        await ingest_file(
            db, MemoryStores(), slug="lanternfall", path=log, data_dir=data_dir, create_project=False
        )


async def test_a_log_below_the_data_directory_is_known_by_its_path_from_there(
    db: Database, data_dir: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(log.parent)
    result = await ingest_file(
        db, MemoryStores(), slug="lanternfall", path=Path("run_1.json"), data_dir=data_dir
    )

    assert result.run_log_path == "var/projects/lanternfall/runs/run_1.json"


async def test_a_log_elsewhere_is_known_by_its_whole_path(db: Database, data_dir: Path) -> None:
    path = LOGS / "g2_dry.json"
    result = await ingest_file(db, MemoryStores(), slug="lanternfall", path=path, data_dir=data_dir)

    assert result.run_log_path == path.resolve().as_posix()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("missing.json", id="missing"),
        pytest.param("", id="a folder"),
        pytest.param("a\0b", id="no file name"),
        pytest.param("broken.json", id="no JSON"),
    ],
)
async def test_a_file_that_is_no_log_leaves_no_project(db: Database, data_dir: Path, name: str) -> None:
    (data_dir / "broken.json").write_text('{"jobs": [')

    with pytest.raises(RunLogInvalidError) as refusal:
        await ingest_file(db, MemoryStores(), slug="lanternfall", path=data_dir / name, data_dir=data_dir)
    assert "\n" not in refusal.value.message
    async with db.transaction() as session:
        assert (await session.scalars(select(Project))).all() == []
        assert (await session.scalars(select(Run))).all() == []
