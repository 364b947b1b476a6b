"""What the planner makes of the postprocess config, pipeline.md 7.1 and 7.2."""

import pytest

from kroma.pipeline.planning.errors import ConfigFileError, PlanningPreflightError
from kroma.pipeline.planning.postprocess_config import (
    PostprocessConfig,
    PostprocessSwitches,
    load_postprocess_config,
    plan_tools,
    planned_postprocess,
)
from kroma.pipeline.planning.settings_layers import SettingsLayer
from kroma.postprocess.specs import (
    ColorProfile,
    ColorSpec,
    CutoutSpec,
    PlannedTools,
    RefineSpec,
    UpscaleSpec,
)
from kroma.runlog.schema import PostprocessLog
from support.builders.config_project import ConfigProject

pytestmark = pytest.mark.timeout(30)


async def loaded(project: ConfigProject, content: object) -> PostprocessConfig:
    project.write("post.json", content)
    return await load_postprocess_config(project.files(), "post.json")


async def test_an_empty_config_and_none_are_the_defaults(project: ConfigProject) -> None:
    assert await loaded(project, {}) == PostprocessConfig()
    assert await load_postprocess_config(project.files(), None) == PostprocessConfig()


async def test_every_planner_key_is_read(project: ConfigProject) -> None:
    config = await loaded(
        project,
        {
            "upscale": {"backend": "NCNN", "scale": 4, "format": "jpeg", "tile": "the tool's own"},
            "color": {"default_profile": "cold_rain"},
            "bg_remove": {
                "backends": ["PhotoRoom"],
                "format": "WEBP",
                "openai": {"enabled": False, "required": False},
            },
        },
    )

    assert config == PostprocessConfig(
        upscale_backend="ncnn",
        upscale_scale=4,
        upscale_format="jpg",
        color_profile="cold_rain",
        bg_remove_backends=("photoroom",),
        bg_remove_format="webp",
        bg_refine_openai=False,
        bg_refine_openai_required=False,
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param("[]", "root must be an object", id="root an array"),
        pytest.param({"upscale": True}, "'upscale' must be an object", id="upscale a switch"),
        pytest.param({"upscale": {"backend": "x"}}, "'upscale.backend' must be one of", id="backend unknown"),
        pytest.param({"upscale": {"scale": 0}}, "'upscale.scale' must be an integer", id="scale 0"),
        pytest.param({"upscale": {"scale": 256}}, "'upscale.scale' must be .* <= 255", id="scale 256"),
        pytest.param({"upscale": {"format": " "}}, "'upscale.format' must be a string", id="format blank"),
        pytest.param({"upscale": {"format": "gif"}}, "'upscale.format' must be one of", id="format unknown"),
        pytest.param({"color": []}, "'color' must be an object", id="color an array"),
        pytest.param({"color": {"default_profile": ""}}, "'color.default_profile' must", id="profile blank"),
        pytest.param({"bg_remove": {"backends": []}}, "'bg_remove.backends' must", id="no backends"),
        pytest.param({"bg_remove": {"backends": ["x"]}}, "'bg_remove.backends' must", id="unknown backend"),
        pytest.param({"bg_remove": {"format": 1}}, "'bg_remove.format' must be a string", id="format 1"),
        pytest.param({"bg_remove": {"openai": 1}}, "'bg_remove.openai' must be an object", id="openai 1"),
        pytest.param(
            {"bg_remove": {"openai": {"enabled": "yes"}}},
            "'bg_remove.openai.enabled' must be true or false",
            id="enabled a text",
        ),
    ],
)
async def test_a_wrong_config_is_named_with_its_field(
    project: ConfigProject, content: object, problem: str
) -> None:
    with pytest.raises(ConfigFileError, match=problem):
        await loaded(project, content)


@pytest.mark.parametrize(
    ("layer", "config", "record"),
    [
        pytest.param(SettingsLayer(), PostprocessConfig(), PostprocessLog(), id="nothing on"),
        pytest.param(
            SettingsLayer(upscale=False, upscale_backend="ncnn", color_profile="x", bg_remove=False),
            PostprocessConfig(),
            PostprocessLog(),
            id="details of steps that are off are dropped",
        ),
        pytest.param(
            SettingsLayer(bg_refine_openai=True),
            PostprocessConfig(),
            PostprocessLog(),
            id="refine only with removal",
        ),
        pytest.param(
            SettingsLayer(upscale=True, color=True, bg_remove=True),
            PostprocessConfig(),
            PostprocessLog(
                upscale=True,
                upscale_backend="python",
                color=True,
                color_profile="neutral",
                bg_remove=True,
                bg_remove_backends=["rembg"],
                bg_refine_openai=True,
                bg_refine_openai_required=True,
                pipeline_order=["generate", "bg_remove", "bg_refine_openai", "upscale", "color"],
            ),
            id="all on, in the fixed order",
        ),
        pytest.param(
            SettingsLayer(
                color=True,
                color_profile="cold_rain",
                bg_remove=True,
                bg_remove_backends=("RemoveBG", "rembg"),
                bg_refine_openai=False,
            ),
            PostprocessConfig(color_profile="neutral", bg_remove_backends=("photoroom",)),
            PostprocessLog(
                color=True,
                color_profile="cold_rain",
                bg_remove=True,
                bg_remove_backends=["removebg", "rembg"],
                pipeline_order=["generate", "bg_remove", "color"],
            ),
            id="settings beat the config",
        ),
        pytest.param(
            SettingsLayer(bg_remove=True, bg_refine_openai_required=False),
            PostprocessConfig(),
            PostprocessLog(
                bg_remove=True,
                bg_remove_backends=["rembg"],
                bg_refine_openai=True,
                pipeline_order=["generate", "bg_remove", "bg_refine_openai"],
            ),
            id="refine that may fail",
        ),
    ],
)
def test_the_planned_record_says_what_is_on(
    layer: SettingsLayer, config: PostprocessConfig, record: PostprocessLog
) -> None:
    assert planned_postprocess(layer, config) == record


@pytest.mark.parametrize(
    ("backends", "problem"),
    [
        pytest.param(("rembg", "magic"), "Unknown background backend 'magic'", id="unknown"),
        pytest.param((), "is empty; name at least one of: rembg, photoroom, removebg", id="none"),
    ],
)
def test_backends_that_cannot_be_tried_make_no_plan(backends: tuple[str, ...], problem: str) -> None:
    layer = SettingsLayer(bg_remove=True, bg_remove_backends=backends)

    with pytest.raises(PlanningPreflightError, match=problem):
        planned_postprocess(layer, PostprocessConfig())


def test_a_switch_turns_off_what_a_settings_file_turns_on() -> None:
    layer = SettingsLayer(upscale=True, color=True, bg_remove=True)

    record = planned_postprocess(
        layer, PostprocessConfig(), PostprocessSwitches(upscale=False, bg_remove=False)
    )

    assert record == PostprocessLog(color=True, color_profile="neutral", pipeline_order=["generate", "color"])


def test_a_switch_that_says_nothing_leaves_the_settings() -> None:
    layer = SettingsLayer(color=True, color_profile="cold_rain")

    assert planned_postprocess(layer, PostprocessConfig(), PostprocessSwitches()) == planned_postprocess(
        layer, PostprocessConfig()
    )


def test_switches_beat_the_settings_and_the_config() -> None:
    layer = SettingsLayer(bg_remove_backends=("rembg",), upscale_backend="ncnn")

    record = planned_postprocess(
        layer,
        PostprocessConfig(),
        PostprocessSwitches(
            bg_remove=True,
            bg_remove_backends=("PhotoRoom",),
            bg_refine_openai=False,
            upscale=True,
            upscale_backend="Python",
        ),
    )

    assert record.bg_remove_backends == ["photoroom"]
    assert record.upscale_backend == "python"
    assert record.pipeline_order == ["generate", "bg_remove", "upscale"]


def test_an_unknown_upscale_backend_makes_no_plan() -> None:
    with pytest.raises(PlanningPreflightError, match="Unknown upscale backend 'magic'"):
        planned_postprocess(
            SettingsLayer(), PostprocessConfig(), PostprocessSwitches(upscale=True, upscale_backend="magic")
        )


async def tools_of(
    project: ConfigProject, content: object, **record: object
) -> tuple[PlannedTools | None, tuple[str, ...]]:
    config = await loaded(project, content)
    return await plan_tools(project.files(), PostprocessLog(**record), config)


async def test_what_only_the_tools_read_is_planned_and_left_out_where_it_is_wrong(
    project: ConfigProject,
) -> None:
    content = {
        "candidates": "All",
        "upscale": {"backend": "ncnn", "model_name": "realesr-animevideov3", "tile": 256, "quality": 80},
        "bg_remove": {
            "size": "",
            "crop": "yes",
            "rembg": {"model": 7},
            "removebg": {"price_usd": 0.2, "endpoint": "http://169.254.169.254/"},
            "openai": {"model": "gpt-image-1", "prompt": "Clean it."},
        },
    }

    tools, problems = await tools_of(
        project,
        content,
        upscale=True,
        upscale_backend="ncnn",
        bg_remove=True,
        bg_remove_backends=["removebg"],
        bg_refine_openai=True,
    )

    assert problems == ()
    assert tools == PlannedTools(
        scope="all",
        cutout=CutoutSpec(backends=("removebg",), size="", prices_usd={"removebg": "0.200000"}),
        refine=RefineSpec(prompt="Clean it.", model="gpt-image-1", is_required=False),
        upscale=UpscaleSpec(backend="ncnn", model="realesr-animevideov3", tile=256, quality=80),
    )


async def test_nothing_is_planned_where_every_step_is_off(project: ConfigProject) -> None:
    assert await tools_of(project, {}) == (None, ())


async def test_a_file_of_profiles_stands_in_place_of_the_built_in_ones(project: ConfigProject) -> None:
    project.write("looks.json", {"profiles": {"dusk": {"temperature": 30, "comment": "ignored"}}})
    content = {"color": {"settings_file": "looks.json"}}

    tools, _ = await tools_of(project, content, color=True, color_profile="dusk")
    _, problems = await tools_of(project, content, color=True, color_profile="neutral")

    assert tools is not None
    assert tools.color == ColorSpec(
        profile="dusk", values=ColorProfile(temperature=30), settings="looks.json"
    )
    assert problems == ("Unknown color profile 'neutral' in looks.json; choose from: dusk",)


@pytest.mark.parametrize(
    ("profile", "problem"),
    [
        pytest.param({"gamma": 0}, "'profiles.x.gamma' must be valid in a color profile", id="gamma 0"),
        pytest.param({"contrast": "high"}, "'profiles.x.contrast' must be", id="a text"),
        pytest.param({"brightness": True}, "'profiles.x.brightness' must be", id="a truth"),
        pytest.param({"temperature": 300}, "'profiles.x.temperature' must be", id="too warm"),
        pytest.param([], "'profiles.x' must be an object", id="no object"),
    ],
)
async def test_a_wrong_profile_is_named_with_its_field(
    project: ConfigProject, profile: object, problem: str
) -> None:
    project.write("looks.json", {"profiles": {"x": profile}})

    with pytest.raises(ConfigFileError, match=problem):
        await tools_of(project, {"color": {"settings_file": "looks.json"}}, color=True, color_profile="x")
