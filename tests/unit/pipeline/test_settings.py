"""Layered settings, pipeline.md 2."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kroma.pipeline.planning.errors import ConfigFileError
from kroma.pipeline.planning.settings_layers import Layers, SettingsLayer, load_layers
from support.builders.config_project import ConfigProject

pytestmark = pytest.mark.timeout(30)

EVERYTHING = {
    "manifest_path": "m.json",
    "postprocess_config_path": "p.json",
    "postprocess": {
        "upscale": True,
        "upscale_backend": "NCNN",
        "color": False,
        "color_profile": " cold_rain ",
        "bg_remove": True,
        "bg_remove_backends": ["rembg", "photoroom"],
        "bg_refine_openai": False,
        "bg_refine_openai_required": False,
    },
}
EVERYTHING_READ = SettingsLayer(
    manifest_path="m.json",
    postprocess_config_path="p.json",
    upscale=True,
    upscale_backend="ncnn",
    color=False,
    color_profile="cold_rain",
    bg_remove=True,
    bg_remove_backends=("rembg", "photoroom"),
    bg_refine_openai=False,
    bg_refine_openai_required=False,
)


async def test_no_file_is_an_empty_layer(project: ConfigProject) -> None:
    layers = await load_layers(project.files())

    assert layers.merged == SettingsLayer()
    assert not layers.app.is_loaded
    assert not layers.project.is_loaded


@pytest.mark.parametrize("nested", [True, False])
async def test_every_key_is_read_from_a_projects_json(project: ConfigProject, *, nested: bool) -> None:
    project.put(".kroma/pipeline.settings.json", {"pipeline": EVERYTHING} if nested else EVERYTHING)

    layers = await load_layers(project.files())

    assert layers.project == EVERYTHING_READ
    assert layers.project.is_loaded


@pytest.mark.parametrize("path", [None, "etc/settings.TOML"])
async def test_every_key_is_read_from_an_installations_toml(project: ConfigProject, path: str | None) -> None:
    project.write(
        path or "config/pipeline.settings.toml",
        """
        [pipeline]
        manifest_path = "m.json"
        postprocess_config_path = "p.json"
        [pipeline.postprocess]
        upscale = true
        upscale_backend = "NCNN"
        color = false
        color_profile = " cold_rain "
        bg_remove = true
        bg_remove_backends = ["rembg", "photoroom"]
        bg_refine_openai = false
        bg_refine_openai_required = false
        """,
    )

    layers = await load_layers(project.files(), app_path=path)

    assert layers.app == EVERYTHING_READ


async def test_toml_beats_json_where_both_defaults_exist(project: ConfigProject) -> None:
    project.write("config/pipeline.settings.json", {"manifest_path": "of_json"})
    assert (await load_layers(project.files())).app.manifest_path == "of_json"

    project.write("config/pipeline.settings.toml", 'manifest_path = "of_toml"')
    assert (await load_layers(project.files())).app.manifest_path == "of_toml"


async def test_the_project_beats_the_installation_key_by_key(project: ConfigProject) -> None:
    project.write(
        "config/pipeline.settings.json",
        {
            "manifest_path": "app.json",
            "postprocess": {"upscale": True, "color": True, "bg_remove_backends": ["rembg", "removebg"]},
        },
    )
    project.configure(postprocess={"upscale": False, "bg_remove_backends": ["photoroom"]})

    merged = (await load_layers(project.files())).merged

    assert merged.manifest_path == "app.json"
    assert merged.upscale is False
    assert merged.color is True
    assert merged.bg_remove_backends == ("photoroom",)


async def test_unknown_keys_are_ignored_and_load_nothing(project: ConfigProject) -> None:
    project.configure(somewhere="else", postprocess={"sparkle": 9})

    assert not (await load_layers(project.files())).project.is_loaded


@pytest.mark.parametrize("path", ["nowhere.toml", "config", "a/b/c.json"])
async def test_an_explicit_file_that_is_missing_is_an_empty_layer(project: ConfigProject, path: str) -> None:
    (project.data_dir / "config").mkdir()

    layers = await load_layers(project.files(), app_path=path, project_path="nowhere.json")

    assert layers.merged == SettingsLayer()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param("{", "is not valid JSON", id="broken"),
        pytest.param("", "is not valid JSON", id="empty"),
        pytest.param(b"\xff\xfe{}", "is not valid JSON", id="not UTF-8"),
        pytest.param("[" * 50_000, "is not valid JSON", id="too deep"),
        pytest.param("[]", "root must be an object", id="an array"),
        pytest.param("null", "root must be an object", id="null"),
        pytest.param({"pipeline": []}, "field 'pipeline' must be an object", id="pipeline an array"),
        pytest.param({"pipeline": None}, "field 'pipeline' must be an object", id="pipeline null"),
        pytest.param({"postprocess": 1}, "field 'postprocess' must be an object", id="postprocess a number"),
        pytest.param({"manifest_path": ""}, "field 'manifest_path' must be a string that is not", id="blank"),
        pytest.param({"manifest_path": None}, "field 'manifest_path' must be a string", id="null text"),
        pytest.param({"manifest_path": "a\0"}, "without NUL", id="a NUL"),
        pytest.param(
            {"postprocess": {"upscale": "yes"}},
            "field 'postprocess.upscale' must be true or false",
            id="a text for a switch",
        ),
        pytest.param(
            {"postprocess": {"color": 1}}, "field 'postprocess.color' must be true or false", id="1 for true"
        ),
        pytest.param(
            {"postprocess": {"upscale_backend": "gpu"}},
            "field 'postprocess.upscale_backend' must be one of: ncnn, python",
            id="unknown backend",
        ),
        pytest.param(
            {"postprocess": {"bg_remove_backends": "rembg"}},
            "field 'postprocess.bg_remove_backends' must be an array of strings",
            id="a text for an array",
        ),
        pytest.param(
            {"postprocess": {"bg_remove_backends": ["rembg", " "]}},
            r"field 'postprocess.bg_remove_backends\[1\]' must be a string that is not empty",
            id="a blank in an array",
        ),
        pytest.param("x" * (1024 * 1024 + 1), "the limit is 1048576", id="too large"),
    ],
)
async def test_a_wrong_project_file_is_named_with_its_field(
    project: ConfigProject, content: object, problem: str
) -> None:
    path = project.put(".kroma/pipeline.settings.json", content)

    with pytest.raises(ConfigFileError, match=problem) as caught:
        await load_layers(project.files())

    assert caught.value.message.startswith(f"{path}: ")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("content", ["manifest_path =", "a = [", b"\xff = 1", "[a]\n[a]"])
async def test_toml_with_a_syntax_error_is_named(project: ConfigProject, content: object) -> None:
    path = project.write("config/pipeline.settings.toml", content)

    with pytest.raises(ConfigFileError, match="is not valid TOML") as caught:
        await load_layers(project.files())

    assert caught.value.message.startswith(f"{path}: ")


@pytest.mark.parametrize(
    "path", ["../outside.json", "{outside}", "link.json", "../../../../../../../../etc/hostname"]
)
async def test_an_app_file_outside_the_data_directory_needs_leave(
    project: ConfigProject, tmp_path: Path, path: str
) -> None:
    outside = tmp_path / "outside.json"
    outside.write_text('{"manifest_path": "x"}')
    (project.data_dir / "link.json").symlink_to(outside)
    path = path.format(outside=outside)

    with pytest.raises(ConfigFileError, match="lies outside"):
        await load_layers(project.files(), app_path=path)
    if "etc" not in path:
        layers = await load_layers(project.files(allow_any_root=True), app_path=path)
        assert layers.app.is_loaded


async def test_absolute_paths_inside_the_data_directory_or_the_project_count(project: ConfigProject) -> None:
    of_app = project.write("anywhere/app.json", {"manifest_path": "a"})
    of_project = project.put("anywhere/project.json", {"manifest_path": "p"})

    layers = await load_layers(project.files(), app_path=str(of_project), project_path=str(of_app))

    assert (layers.app.manifest_path, layers.project.manifest_path) == ("p", "a")


@pytest.mark.parametrize("path", ["../settings.json", "in/../../settings.json", "link/settings.json", "a\0b"])
async def test_a_project_file_outside_the_project_is_refused(
    project: ConfigProject, tmp_path: Path, path: str
) -> None:
    (project.root / "link").symlink_to(tmp_path)

    with pytest.raises(ConfigFileError, match="outside"):
        await load_layers(project.files(), project_path=path)


async def test_an_app_path_with_a_nul_is_refused(project: ConfigProject) -> None:
    with pytest.raises(ConfigFileError, match="NUL"):
        await load_layers(project.files(), app_path="a\0b")


layers = st.builds(
    SettingsLayer,
    manifest_path=st.none() | st.text(),
    upscale=st.none() | st.booleans(),
    bg_remove_backends=st.none() | st.just(()) | st.just(("rembg",)),
)


@given(upper=layers, lower=layers)
def test_a_key_comes_from_the_upper_layer_where_it_has_one(
    upper: SettingsLayer, lower: SettingsLayer
) -> None:
    merged = msgspec.structs.asdict(Layers(app=lower, project=upper).merged)

    for name, value in msgspec.structs.asdict(upper).items():
        expected = value if value is not None else getattr(lower, name)
        assert merged[name] == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param("a." * 400_000 + "b=1", "is larger than 65536 bytes", id="file"),
        pytest.param("c = 1\n" + "a." * 5000 + "b=1", "line 2 is longer than 1000 bytes", id="line"),
    ],
)
@pytest.mark.timeout(10)
async def test_toml_that_takes_minutes_to_read_is_refused(
    project: ConfigProject, content: str, problem: str
) -> None:
    project.write("config/pipeline.settings.toml", content)
    with pytest.raises(ConfigFileError, match=problem):
        await load_layers(project.files())
