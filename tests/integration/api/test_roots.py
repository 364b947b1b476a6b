"""Roots of projects: whose folder is whose, and what a project's token may name (decision 0030)."""

import asyncio
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from httpx import AsyncClient, Response
from sqlalchemy import delete, select

from kroma.db.engine import Database
from kroma.projects.models import Project, ProjectRoot, ProjectStorage
from support.builders.factories import png, scene_png
from support.harness.documented_api import ClientFactory

pytestmark = pytest.mark.timeout(60)

BYPASS = {"KROMA_API_AUTH_DEV_BYPASS": "1"}


class House(NamedTuple):
    """An installation with two projects, its own token and one of the first project."""

    owner: AsyncClient
    artist: AsyncClient
    data_dir: Path

    async def root(self, slug: str) -> str:
        storage = (await self.owner.get(f"/api/projects/{slug}/storage")).json()["storage"]
        return storage["local"]["project_root"]

    async def put(self, body: dict[str, Any], *, as_owner: bool = False, slug: str = "mine") -> Response:
        client = self.owner if as_owner else self.artist
        return await client.put(f"/api/projects/{slug}/storage/local", json=body)


@pytest.fixture
async def house(client_with: ClientFactory, data_dir: Path, tmp_path: Path) -> House:
    owner, artist = client_with(), client_with()
    first = await owner.post("/auth/token", json={})
    owner.headers["Authorization"] = f"Bearer {first.json()['auth_token']['token']}"
    for name in ("Mine", "Theirs"):
        assert (await owner.post("/api/projects", json={"name": name})).status_code == 200
    second = await owner.post("/auth/token", json={"project_slug": "mine"})
    artist.headers["Authorization"] = f"Bearer {second.json()['auth_token']['token']}"
    for name in ("var/backend", "config", "run", "logs", "var/projects/theirs/scenes", "var/projects/mine"):
        (data_dir / name).mkdir(parents=True, exist_ok=True)
    (data_dir / "token").write_text("secret")
    (data_dir / "var/projects/theirs/scenes/a.png").write_bytes(scene_png())
    (data_dir / "var/projects/mine/out").symlink_to("../theirs")
    (tmp_path / "elsewhere").mkdir()
    return House(owner, artist, data_dir)


OTHERS = [
    *("var/projects/theirs", "var/projects/theirs/", "var/projects/theirs/scenes", "var/projects/THEIRS"),
    *("var/projects", "var", "var/backend", "config", "run", "logs", "postgres", "token", "callback.key"),
    *(".", "/", "..", "./", "//", "var/projects/mine/..", "var/projects/mine/../theirs", "VAR/BACKEND"),
    *("var/projects/mine/out", "var/projects/mine/out/scenes", "{data}/var/projects/theirs", "{data}"),
    *("{data}/../data/var/projects/theirs", "{data}//var//backend", "/proc/self", "a" * 5000),
]


@pytest.mark.parametrize("root", [*OTHERS, "shelf", "/srv/mine", "{data}/../elsewhere", "var/projects/mine2"])
@pytest.mark.parametrize("field", ["project_root", "base_dir"])
async def test_a_projects_token_names_folders_of_its_project_only(
    house: House, root: str, field: str
) -> None:
    before = await house.root("mine")
    if field == "base_dir" and root in {"var/projects", "var/projects/mine/.."}:
        assert (await house.put({field: root})).status_code == 200  # where the project is
        return
    response = await house.put({field: root.format(data=house.data_dir)})

    assert (response.status_code, response.json()["error_code"]) == (400, "project_root_not_allowed")
    assert f"'{field}'" in response.json()["error"]
    assert "theirs" not in response.json()["error"]
    assert await house.root("mine") == before


async def test_a_base_dir_that_would_count_later_is_judged_now(house: House) -> None:
    body = {"base_dir": "var", "project_root": "var/projects/mine/deep"}
    response = await house.put(body)

    assert (response.status_code, response.json()["error_code"]) == (400, "project_root_not_allowed")
    assert "'base_dir'" in response.json()["error"]


async def test_a_projects_token_moves_within_its_project_and_back(house: House) -> None:
    for root in ("var/projects/mine/deep", f"{house.data_dir}/var/projects/mine/deep/er", ""):
        assert (await house.put({"project_root": root})).status_code == 200
    assert await house.root("mine") == f"{house.data_dir}/var/projects/mine"
    deep = await house.put({"base_dir": "var/projects/mine/shelf"})
    assert deep.json()["storage"]["local"]["project_root"].endswith("/var/projects/mine/shelf/mine")


@pytest.mark.parametrize("root", [root for root in OTHERS if root != "var/projects/mine/out"])
async def test_no_token_gives_a_project_what_is_anothers_or_kromas(house: House, root: str) -> None:
    response = await house.put({"project_root": root.format(data=house.data_dir)}, as_owner=True)

    assert (response.status_code, response.json()["error_code"]) == (400, "project_root_not_allowed")


@pytest.mark.parametrize(
    "root",
    [
        "shelf",
        "var/projects/other name",
        "{data}/../elsewhere",
        "/tmp/kroma-storage-demo",  # noqa: S108 - the contract's own example
        "var/projects/mine2",
    ],
)
async def test_the_installations_token_sets_any_free_root(house: House, root: str) -> None:
    root = root.format(data=house.data_dir)
    response = await house.put({"project_root": root}, as_owner=True)

    assert response.status_code == 200
    assert response.json()["storage"]["local"]["project_root"] == str(house.data_dir / root)


async def test_what_one_project_has_no_other_gets(house: House) -> None:
    assert (await house.put({"project_root": "/srv/a/b"}, as_owner=True)).status_code == 200
    for root in ("/srv/a/b", "/srv/a", "/srv/a/b/c", "/srv/A/B", "/srv/a/x/../b", "/srv/a/b/"):
        taken = await house.put({"project_root": root}, as_owner=True, slug="theirs")
        assert taken.status_code == 400, root
    for root in ("/srv/a/bc", "/srv/a/ba"):
        assert (await house.put({"project_root": root}, as_owner=True, slug="theirs")).status_code == 200


async def test_names_that_differ_in_their_composition_are_one(house: House) -> None:
    assert (await house.put({"project_root": "/srv/caf\u00e9"}, as_owner=True)).status_code == 200
    taken = await house.put({"project_root": "/srv/cafe\u0301"}, as_owner=True, slug="theirs")
    assert taken.status_code == 400


async def test_a_folder_stays_the_projects_that_had_it(house: House, db: Database) -> None:
    assert (await house.put({"project_root": "/srv/former"}, as_owner=True)).status_code == 200
    assert (await house.put({"project_root": ""}, as_owner=True)).status_code == 200
    body = {"project_root": "/srv/former"}
    assert (await house.put(body, as_owner=True, slug="theirs")).status_code == 400
    async with db.transaction() as session:
        await session.execute(delete(Project).where(Project.slug == "mine"))
    for root in ("/srv/former", "var/projects/mine"):
        taken = await house.put({"project_root": root}, as_owner=True, slug="theirs")
        assert taken.status_code == 400, root


async def test_a_new_project_takes_the_next_free_folder(house: House, db: Database) -> None:
    assert (await house.put({"project_root": "var/projects/new"}, as_owner=True)).status_code == 200
    async with db.transaction() as session:
        await session.execute(delete(Project).where(Project.slug == "theirs"))
    for name, folder in (("New", "new-2"), ("Theirs", "theirs-2"), ("Free", "free")):
        made = await house.owner.post("/api/projects", json={"name": name})
        assert made.status_code == 200
        local = made.json()["storage"]["local"]
        assert local == {
            "base_dir": "var/projects",
            "project_root": f"{house.data_dir}/var/projects/{folder}",
        }
        upload = {"file": ("a.png", png(), "image/png")}
        kept = await house.owner.post(f"/api/projects/{name.lower()}/assets", files=upload)
        assert kept.status_code == 200
        assert list((house.data_dir / "var/projects" / folder).rglob("*.png"))


async def test_a_projects_token_changes_no_profile(house: House) -> None:
    path = "/api/projects/mine/storage/s3"
    assert (await house.owner.put(path, json={"profile": "operator"})).status_code == 200
    for profile in ("admin", ""):
        refused = await house.artist.put(path, json={"profile": profile, "bucket": "b"})
        assert (refused.status_code, refused.json()["error_code"]) == (400, "s3_profile_not_allowed")
    kept = await house.artist.put(path, json={"profile": " operator ", "bucket": "b"})
    assert kept.json()["storage"]["s3"]["profile"] == "operator"
    assert kept.json()["storage"]["s3"]["bucket"] == "b"


@pytest.fixture
def pool(client_with: ClientFactory, fresh_db: Database) -> AsyncClient:
    """A client whose requests run at the same time, each on a connection of its own."""
    return client_with(fresh_db, **BYPASS)


async def test_of_many_at_once_one_gets_a_folder(pool: AsyncClient, fresh_db: Database) -> None:
    slugs = [f"p{number}" for number in range(12)]
    await asyncio.gather(*(pool.post("/api/projects", json={"name": slug}) for slug in slugs))
    roots = ["/srv/one", "/srv/one/deep", "/srv", "/srv/one/deep/er"] * 3
    answers = await asyncio.gather(
        *(
            pool.put(f"/api/projects/{slug}/storage/local", json={"project_root": root})
            for slug, root in zip(slugs, roots, strict=True)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [200, *([400] * 11)]
    async with fresh_db.transaction() as session:
        rows = await session.scalars(select(ProjectRoot.path).where(ProjectRoot.path.startswith("/srv")))
        assert len(rows.all()) == 1


async def test_projects_of_one_folder_made_at_once_get_one_each(pool: AsyncClient, data_dir: Path) -> None:
    await pool.post("/api/projects", json={"name": "First"})
    await pool.put("/api/projects/first/storage/local", json={"project_root": "var/projects/twin"})
    answers = await asyncio.gather(*(pool.post("/api/projects", json={"name": "Twin"}) for _ in range(6)))

    assert {answer.status_code for answer in answers} == {200}
    roots = {answer.json()["storage"]["local"]["project_root"] for answer in answers}
    assert roots == {f"{data_dir}/var/projects/twin-2"}


async def overlapping(db: Database, slug: str, root: str) -> None:
    """What an earlier version let be: a root that was never registered."""
    async with db.transaction() as session:
        project = await session.scalar(select(Project).where(Project.slug == slug))
        assert project is not None
        await session.execute(delete(ProjectRoot).where(ProjectRoot.project_id == project.id))
        storage = await session.scalar(select(ProjectStorage).where(ProjectStorage.project_id == project.id))
        assert storage is not None
        storage.local_project_root = root


async def written(house: House, slug: str) -> list[Response]:
    """Everything that writes to a project's folder."""
    path = f"/api/projects/{slug}"
    await house.owner.put(f"{path}/storage/s3", json={"enabled": True, "bucket": "b"})
    return [
        await house.owner.post(f"{path}/assets", files={"file": ("a.png", png(), "image/png")}),
        await house.owner.post(f"{path}/runs/trigger", json={"mode": "dry", "input": "scenes"}),
        *[
            await house.owner.post(f"{path}/storage/sync", json={"kind": kind})
            for kind in ("sync", "restore", "verify")
        ],
    ]


async def test_roots_that_overlap_from_before_are_refused_for_writing_until_one_moves(
    house: House, db: Database
) -> None:
    await overlapping(db, "mine", "var/projects/theirs/scenes")
    await overlapping(db, "theirs", "var/projects/theirs")

    for slug in ("mine", "theirs"):
        for answer in await written(house, slug):
            assert answer.status_code == 400
            assert "overlaps the root of another project" in answer.json()["error"], answer.json()
    assert [p.name for p in (house.data_dir / "var/projects/theirs").rglob("*.png")] == ["a.png"]
    third = {"project_root": "var/projects/theirs/scenes/deep"}
    await house.owner.post("/api/projects", json={"name": "Third"})
    assert (await house.put(third, as_owner=True, slug="third")).status_code == 400

    assert (await house.put({"project_root": "var/projects/mine/deep"})).status_code == 400
    assert (await house.put({"project_root": ""}, as_owner=True)).status_code == 200
    for slug in ("mine", "theirs"):
        assert (await written(house, slug))[0].status_code == 200


async def test_a_root_of_kromas_own_from_before_gives_nothing_away(house: House, db: Database) -> None:
    (house.data_dir / "var/backend/master.key").write_text("{}")
    for root in ("var", "var/backend", ".", "config"):
        await overlapping(db, "mine", root)
        for answer in await written(house, "mine"):
            assert answer.status_code == 400
        body = {"manifest_path": str(house.data_dir / "var/backend/master.key")}
        told = await house.artist.post("/api/projects/mine/runs/validate-config", json=body)
        assert told.status_code == 400


MISSING_AND_THERE = [
    *("token", "gone"),
    *("callback.key", "callback.gone"),
    *("var/backend/master.key", "var/backend/gone"),
    *("var/projects/theirs/manifest.json", "var/projects/theirs/gone.json"),
    *("operators.json", "gone.json"),
    *("{data}/token", "{data}/gone"),
    *("/etc/passwd", "/etc/gone"),
    *("config/../token", "config/../gone"),
    *("var/projects/mine/out/manifest.json", "var/projects/mine/out/gone.json"),
]
FIELDS = ("app_settings_path", "project_settings_path", "manifest_path", "postprocess_config_path")


@pytest.mark.parametrize("field", FIELDS)
async def test_a_projects_token_learns_nothing_of_other_files(house: House, field: str) -> None:
    data = house.data_dir
    (data / "callback.key").write_text("key")
    (data / "var/backend/master.key").write_text("key")
    (data / "var/projects/theirs/manifest.json").write_text('{"safe_batch_limit": 0}')
    (data / "operators.json").write_text('{"safe_batch_limit": "secret"}')
    for path in MISSING_AND_THERE:
        named = path.format(data=data)
        if field == "project_settings_path":  # relative ones lie in the project
            named = str(data / named)
        answer = await house.artist.post("/api/projects/mine/runs/validate-config", json={field: named})
        told = answer.json()
        assert (answer.status_code, told["error_code"]) == (400, "config_validation_failed"), path
        told_of = told["error"].replace(f"{data}/", "").replace(named.removeprefix(f"{data}/"), "X")
        assert "secret" not in told_of
        assert "outside the project" in told_of, told


async def test_a_projects_token_may_name_files_of_its_project_and_of_config(house: House) -> None:
    data = house.data_dir
    (data / "config/shared.json").write_text("{}")
    (data / "var/projects/mine/m.json").write_text("{}")
    for path in ("config/shared.json", "var/projects/mine/m.json", f"{data}/var/projects/mine/m.json"):
        answer = await house.artist.post(
            "/api/projects/mine/runs/validate-config", json={"manifest_path": path}
        )
        assert answer.status_code == 200, answer.json()


@pytest.mark.parametrize("path", ["runs/trigger", "runs/quote"])
async def test_settings_of_the_project_name_no_other_files_for_its_token(house: House, path: str) -> None:
    data = house.data_dir
    scenes = data / "var/projects/mine/scenes"
    scenes.mkdir()
    (scenes / "a.png").write_bytes(scene_png())
    (data / "operators.json").write_text("{}")
    settings = data / "var/projects/mine/.kroma/pipeline.settings.json"
    settings.parent.mkdir()
    body = {"mode": "dry", "input": "scenes"}
    for field in ("manifest_path", "postprocess_config_path"):
        settings.write_text(json.dumps({field: "operators.json"}))
        refused = await house.artist.post(f"/api/projects/mine/{path}", json=body)
        assert (refused.status_code, refused.json()["error_code"]) == (400, "planning_preflight_failed")
        assert "outside the project" in refused.json()["error"]
        assert (await house.owner.post(f"/api/projects/mine/{path}", json=body)).status_code < 300
    settings.write_text("{}")
    (data / "config/pipeline.settings.json").write_text('{"manifest_path": "operators.json"}')
    assert (await house.artist.post(f"/api/projects/mine/{path}", json=body)).status_code < 300


async def test_the_installations_token_names_no_keys_as_settings(house: House) -> None:
    (house.data_dir / "callback.key").write_text("{}")
    (house.data_dir / "var/backend/master.key").write_text("{}")
    for path in ("callback.key", "token", "var/backend/master.key", "run/stack.json"):
        answer = await house.owner.post(
            "/api/projects/mine/runs/validate-config", json={"manifest_path": path}
        )
        assert "belongs to Kroma itself" in answer.json()["error"]
