"""The manifest, pipeline.md 3, and the prompt it gives, 3.2."""

import re

import pytest

from kroma.imaging.color_check import GuardSettings
from kroma.imaging.measures.settings import CheckSettings, QualitySettings, Verdict
from kroma.pipeline.planning.errors import ConfigFileError, PlanningPreflightError
from kroma.pipeline.planning.manifest import DEFAULT_PROMPTS, Manifest, load_manifest
from kroma.pipeline.planning.prompt import NO_INVENTION, Setting, compose_prompt
from kroma.runs.models import Stage, TimeOfDay, Weather
from support.builders.config_project import ConfigProject

pytestmark = pytest.mark.timeout(30)


async def loaded(project: ConfigProject, content: object) -> Manifest:
    project.write("manifest.json", content)
    return await load_manifest(project.files(), "manifest.json")


async def test_without_a_manifest_the_defaults_hold(project: ConfigProject) -> None:
    manifest = await load_manifest(project.files(), None)

    assert manifest == await loaded(project, {})
    assert (manifest.safe_batch_limit, manifest.candidates, manifest.max_candidates) == (20, 1, 6)
    assert manifest.guard == GuardSettings(max_chroma_delta=2.0)
    assert manifest.default_no_invention is True
    assert manifest.allowed_style_roots is None
    assert set(manifest.prompts) == {
        "style_base",
        "time_day",
        "time_night",
        "weather_clear",
        "weather_rain",
        "character",
    }
    assert all(manifest.prompts.values())


async def test_every_key_is_read(project: ConfigProject) -> None:
    manifest = await loaded(
        project,
        {
            "scene_refs": [" a.png "],
            "style_refs": ["ink.png", "line.png"],
            "safe_batch_limit": 3,
            "generation": {"candidates": 2, "max_candidates": 4},
            "output_guard": {
                "enforce_grayscale": True,
                "max_chroma_delta": 0,
                "fail_on_chroma_exceed": True,
            },
            "policy": {"default_no_invention": False, "allowed_style_roots": ["references/"]},
            "prompts": {"style_base": " Ink. ", "mine": "x"},
            "unknown": None,
        },
    )

    assert manifest == Manifest(
        scene_refs=("a.png",),
        style_refs=("ink.png", "line.png"),
        safe_batch_limit=3,
        candidates=2,
        max_candidates=4,
        guard=GuardSettings(enforce_grayscale=True, max_chroma_delta=0.0, fail_on_chroma_exceed=True),
        default_no_invention=False,
        allowed_style_roots=("references/",),
        prompts={**DEFAULT_PROMPTS, "style_base": "Ink.", "mine": "x"},
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param("[1]", "root must be an object", id="root an array"),
        pytest.param("{'a'}", "is not valid JSON", id="no JSON"),
        pytest.param({"scene_refs": "a.png"}, "'scene_refs' must be an array of strings", id="scenes a text"),
        pytest.param({"scene_refs": None}, "'scene_refs' must be an array of strings", id="scenes null"),
        pytest.param({"style_refs": [1]}, r"'style_refs\[0\]' must be a string", id="a number for a text"),
        pytest.param(
            {"style_refs": ["a", ""]}, r"'style_refs\[1\]' must be a string that", id="a blank style"
        ),
        pytest.param({"safe_batch_limit": 0}, "'safe_batch_limit' must be an integer >= 1", id="limit 0"),
        pytest.param({"safe_batch_limit": 2.0}, "'safe_batch_limit' must be an integer", id="limit a float"),
        pytest.param({"safe_batch_limit": True}, "'safe_batch_limit' must be an integer", id="limit true"),
        pytest.param({"safe_batch_limit": "9"}, "'safe_batch_limit' must be an integer", id="limit a text"),
        pytest.param({"generation": 1}, "'generation' must be an object", id="generation a number"),
        pytest.param(
            {"generation": {"candidates": -1}},
            "'generation.candidates' must be an integer",
            id="candidates -1",
        ),
        pytest.param(
            {"generation": {"max_candidates": 10**12}},
            "'generation.max_candidates' must be an integer",
            id="more than a column takes",
        ),
        pytest.param(
            {"output_guard": {"max_chroma_delta": -0.1}},
            "'output_guard.max_chroma_delta' must be a non-negative number",
            id="threshold negative",
        ),
        pytest.param(
            '{"output_guard": {"max_chroma_delta": 1e999}}', "is not valid JSON", id="threshold infinite"
        ),
        pytest.param(
            {"output_guard": {"max_chroma_delta": 10**400}},
            "'output_guard.max_chroma_delta' must be a non-negative number",
            id="threshold too large for a float",
        ),
        pytest.param(
            {"output_guard": {"max_chroma_delta": True}}, "must be a non-negative number", id="threshold true"
        ),
        pytest.param(
            {"output_guard": {"enforce_grayscale": 0}},
            "'output_guard.enforce_grayscale' must be true or false",
            id="0 for false",
        ),
        pytest.param({"policy": []}, "'policy' must be an object", id="policy an array"),
        pytest.param(
            {"policy": {"allowed_style_roots": [" "]}},
            r"'policy.allowed_style_roots\[0\]' must be a string that is not empty",
            id="a blank root",
        ),
        pytest.param(
            {"policy": {"require_baseline": ["time", "style"]}},
            "'policy.require_baseline' must be an array of any of: time, weather, character",
            id="a gate before the first stage",
        ),
        pytest.param(
            {"prompts": {"time_day": 3}}, "'prompts.time_day' must be a string", id="prompt a number"
        ),
        pytest.param({"prompts": {"x": "a\0b"}}, "without NUL", id="a NUL"),
    ],
)
async def test_a_wrong_manifest_is_named_with_its_field(
    project: ConfigProject, content: object, problem: str
) -> None:
    with pytest.raises(ConfigFileError, match=problem) as caught:
        await loaded(project, content)

    assert caught.value.message.startswith(f"{project.data_dir}/manifest.json: ")


@pytest.mark.parametrize("path", ["nowhere.json", "manifests"])
async def test_a_manifest_that_is_named_must_exist(project: ConfigProject, path: str) -> None:
    (project.data_dir / "manifests").mkdir()
    with pytest.raises(ConfigFileError, match="cannot be read: no such file"):
        await load_manifest(project.files(), path)


def setting(stage: Stage, time_of_day: TimeOfDay, weather: Weather) -> Setting:
    return Setting(stage=stage, time_of_day=time_of_day, weather=weather)


@pytest.mark.parametrize(
    ("stage", "slots"),
    [
        pytest.param(Stage.STYLE, ["style_base"], id="style ignores both"),
        pytest.param(Stage.TIME, ["style_base", "time_night"], id="time ignores the weather"),
        pytest.param(Stage.WEATHER, ["style_base", "time_night", "weather_rain"], id="weather takes all"),
    ],
)
def test_a_prompt_is_made_of_the_stages_slots(stage: Stage, slots: list[str]) -> None:
    prompt = compose_prompt(Manifest(), setting(stage, TimeOfDay.NIGHT, Weather.RAIN))

    assert prompt == " ".join([*(DEFAULT_PROMPTS[slot] for slot in slots), NO_INVENTION])


def test_the_sentence_against_inventions_can_be_switched_off() -> None:
    manifest = Manifest(default_no_invention=False, prompts={"style_base": " Ink. "})

    prompt = compose_prompt(manifest, setting(Stage.STYLE, TimeOfDay.DAY, Weather.CLEAR))

    assert prompt == "Ink."


@pytest.mark.parametrize("slot", ["style_base", "time_day", "weather_rain"])
def test_a_blank_slot_is_missed_by_name_when_it_is_needed(slot: str) -> None:
    manifest = Manifest(prompts={**DEFAULT_PROMPTS, slot: " "})

    with pytest.raises(PlanningPreflightError, match=f"prompts.{slot}"):
        compose_prompt(manifest, setting(Stage.WEATHER, TimeOfDay.DAY, Weather.RAIN))


def test_a_blank_slot_that_is_not_needed_is_not_missed() -> None:
    manifest = Manifest(prompts={**DEFAULT_PROMPTS, "weather_rain": ""})

    assert compose_prompt(manifest, setting(Stage.TIME, TimeOfDay.DAY, Weather.RAIN))


@pytest.mark.parametrize("color", ["color", "colour"])  # codespell:ignore colour
async def test_checks_take_thresholds_verdicts_and_weights(project: ConfigProject, color: str) -> None:
    quality = {
        color: {"weight": 0, "ignore_transparent": True},
        "sharpness": {"threshold": 0.5, "verdict": "HARD", "weight": 4},
        "style": {"verdict": "off"},
        "unknown": {"threshold": 9},
    }
    checks = (await loaded(project, {"quality": quality})).checks

    assert (checks.color_weight, checks.ignore_transparent) == (0.0, True)
    assert checks.sharpness == CheckSettings(threshold=0.5, verdict=Verdict.HARD, weight=4.0)
    assert checks.style == CheckSettings(threshold=0.35, verdict=Verdict.OFF, weight=2.0)
    assert checks.structure == QualitySettings().structure
    assert (await loaded(project, {})).checks == QualitySettings()


@pytest.mark.parametrize(
    ("quality", "field"),
    [
        pytest.param([], "'quality' must be an object", id="no object"),
        pytest.param({"style": 1}, "'quality.style' must be an object", id="no check"),
        pytest.param(
            {"style": {"threshold": 1.1}},
            "'quality.style.threshold' must be a number from 0 to 1",
            id="over 1",
        ),
        pytest.param(
            {"style": {"threshold": True}},
            "'quality.style.threshold' must be a number from 0 to 1",
            id="no number",
        ),
        pytest.param(
            {"drift": {"weight": -1}},
            "'quality.drift.weight' must be a number from 0 to 1000",
            id="negative",
        ),
        pytest.param(
            {"size": {"verdict": "maybe"}},
            "'quality.size.verdict' must be one of: hard, soft, off",
            id="word",
        ),
        pytest.param(
            {"colour": {"ignore_transparent": 1}},  # codespell:ignore colour
            "'quality.colour.ignore_transparent' must be true or false",  # codespell:ignore colour
            id="no flag",
        ),
    ],
)
async def test_a_wrong_check_is_refused_by_name(project: ConfigProject, quality: object, field: str) -> None:
    with pytest.raises(ConfigFileError, match=re.escape(field)):
        await loaded(project, {"quality": quality})
