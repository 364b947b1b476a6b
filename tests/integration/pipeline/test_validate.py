"""validate-config as a use case: order of checks, summary and texts of contract 3.9."""

from pathlib import Path

import msgspec
import pytest

from kroma.db.engine import Database
from kroma.errors import KromaError
from kroma.pipeline.planning.validate import ConfigSummary, validate_config
from support.builders.config_project import ConfigProject
from support.builders.factories import make_project

pytestmark = pytest.mark.timeout(60)


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """A validate-config body as the API hands it over."""

    project_root: str | None = None
    app_settings_path: str | None = None
    project_settings_path: str | None = None
    manifest_path: str | None = None
    postprocess_config_path: str | None = None


@pytest.fixture
async def project(db: Database, tmp_path: Path) -> ConfigProject:
    async with db.transaction() as session:
        await make_project(session)
    return ConfigProject(tmp_path / "installation")


async def validated(
    db: Database, project: ConfigProject, body: Body, *, slug: str = "comic", allow_any_root: bool = False
) -> ConfigSummary:
    settings = project.settings(allow_any_root=allow_any_root)
    return await validate_config(db, project.stores(), settings, slug=slug, raw=body, is_confined=False)


async def refusal(db: Database, project: ConfigProject, body: Body, *, slug: str = "comic") -> KromaError:
    with pytest.raises(KromaError) as caught:
        await validated(db, project, body, slug=slug)
    return caught.value


async def test_a_project_without_any_file_is_valid(db: Database, project: ConfigProject) -> None:
    assert await validated(db, project, Body()) == ConfigSummary(
        app_settings_loaded=False,
        project_settings_loaded=False,
        resolved_manifest_path=None,
        resolved_postprocess_config_path=None,
    )


async def test_paths_are_given_back_as_written_and_the_project_wins(
    db: Database, project: ConfigProject
) -> None:
    project.write("m.json", {"scene_refs": ["a.png"], "prompts": {"style_base": "ok"}})
    project.write("p.json", {})
    project.write("config/pipeline.settings.toml", 'manifest_path = "gone.json"')
    project.configure(manifest_path=" ./m.json ", postprocess_config_path="p.json")

    assert await validated(db, project, Body()) == ConfigSummary(
        app_settings_loaded=True,
        project_settings_loaded=True,
        resolved_manifest_path="./m.json",
        resolved_postprocess_config_path="p.json",
    )


async def test_the_request_beats_both_layers(db: Database, project: ConfigProject) -> None:
    manifest = project.write("deep/m.json", {})
    project.write("p.json", {})
    project.configure(manifest_path="gone.json", postprocess_config_path="gone.json")

    summary = await validated(
        db, project, Body(manifest_path=f" {manifest} ", postprocess_config_path="p.json")
    )

    assert summary.resolved_manifest_path == str(manifest)
    assert summary.resolved_postprocess_config_path == "p.json"


async def test_explicit_settings_files_are_read_from_their_own_places(
    db: Database, project: ConfigProject
) -> None:
    project.write("a.toml", "postprocess = { color = true }")
    project.put("p.json", {"postprocess": {"color": False}})

    summary = await validated(db, project, Body(app_settings_path="a.toml", project_settings_path="p.json"))

    assert (summary.app_settings_loaded, summary.project_settings_loaded) == (True, True)


async def test_a_missing_explicit_settings_file_is_an_empty_layer(
    db: Database, project: ConfigProject
) -> None:
    summary = await validated(
        db, project, Body(app_settings_path="gone.toml", project_settings_path="gone.json")
    )

    assert (summary.app_settings_loaded, summary.project_settings_loaded) == (False, False)


async def test_blank_texts_count_as_absent(db: Database, project: ConfigProject) -> None:
    blank = Body(
        project_root=" ",
        app_settings_path="",
        project_settings_path="\t",
        manifest_path=" ",
        postprocess_config_path="",
    )

    assert await validated(db, project, blank) == await validated(db, project, Body())


async def test_the_project_is_looked_up_before_anything_else(db: Database, project: ConfigProject) -> None:
    error = await refusal(db, project, Body(project_root="/srv", manifest_path="gone"), slug="nobody")

    assert (error.code, error.message) == ("not_found", "Project not found")


async def test_a_root_of_the_callers_own_is_refused_before_any_file_is_read(
    db: Database, project: ConfigProject
) -> None:
    project.configure(manifest_path=1)

    error = await refusal(db, project, Body(project_root="/srv"))

    assert (error.code, error.message) == (
        "project_root_managed",
        "Field 'project_root' is managed by project storage and cannot be overridden",
    )


async def test_each_part_is_named_and_the_earlier_one_decides(db: Database, project: ConfigProject) -> None:
    wrong = {
        "settings layer": project.write("config/pipeline.settings.json", {"manifest_path": 1}),
        "planning manifest": project.write("m.json", {"safe_batch_limit": 0}),
        "postprocess config": project.write("p.json", {"upscale": {"backend": "x"}}),
    }

    for part, path in wrong.items():
        error = await refusal(db, project, Body(manifest_path="m.json", postprocess_config_path="p.json"))
        assert error.code == "config_validation_failed"
        assert error.message.startswith(f"{part} validation failed: {path}: ")
        path.write_text("{}")

    await validated(db, project, Body(manifest_path="m.json", postprocess_config_path="p.json"))


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("app_settings_path", "settings layer"),
        ("project_settings_path", "settings layer"),
        ("manifest_path", "planning manifest"),
        ("postprocess_config_path", "postprocess config"),
    ],
)
async def test_an_absolute_path_outside_needs_leave(
    db: Database, project: ConfigProject, tmp_path: Path, field: str, part: str
) -> None:
    outside = tmp_path / "outside.json"
    outside.write_text("{}")
    body = msgspec.convert({field: str(outside)}, Body)

    error = await refusal(db, project, body)
    assert error.code == "config_validation_failed"
    assert error.message.startswith(f"{part} validation failed: ")
    await validated(db, project, body, allow_any_root=True)
