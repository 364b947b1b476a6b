"""The trigger's rules, contract 3.8: texts, codes and precedence."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kroma.errors import KromaError
from kroma.pipeline.planning.postprocess_config import PostprocessSwitches
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.runs.models import RunMode, Stage, TimeOfDay, Weather


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger's body as the API hands it over."""

    mode: str | None = None
    confirm_spend: bool | None = None
    project_root: str | None = None
    input: str | None = None
    scene_refs: list[str] | None = None
    style_refs: list[str] | None = None
    stage: str | None = None
    time: str | None = None
    weather: str | None = None
    candidates: int | None = None
    storage_sync_s3: bool | None = None
    provider: str | None = None
    model: str | None = None
    size: str | None = None
    quality: str | None = None
    seed: int | None = None
    style_guide_id: str | None = None
    prompt_template_id: str | None = None
    reference_set_ids: list[str] | None = None
    character_ids: list[str] | None = None
    baseline_run_id: str | None = None
    postprocess: PostprocessSwitches | None = None


def checked(**fields: object) -> RunSpec:
    return RunSpec.checked(msgspec.convert(fields, Body))


def refused(**fields: object) -> KromaError:
    with pytest.raises(KromaError) as caught:
        checked(**fields)
    return caught.value


MANAGED = "Field 'project_root' is managed by project storage and cannot be overridden"
STAGES = "Field 'stage' must be one of: style, time, weather, character"
NEEDS_STAGE = "Field 'time' requires stage 'time' or 'weather'"

RULES = [
    pytest.param(
        {"mode": "paid"}, "invalid_mode", "Field 'mode' must be one of: dry, run", id="mode unknown"
    ),
    pytest.param({"project_root": "/srv"}, "invalid_request", MANAGED, id="project_root given"),
    pytest.param(
        {"scene_refs": []}, "invalid_request", "Field 'scene_refs' must not be empty", id="scene_refs empty"
    ),
    pytest.param(
        {"scene_refs": ["a.png", " "]},
        "invalid_request",
        "Field 'scene_refs' must not contain empty values",
        id="scene_refs with a blank",
    ),
    pytest.param(
        {"scene_refs": ["a.png"], "input": "in"},
        "invalid_request",
        "Provide only one of: input, scene_refs",
        id="both sources",
    ),
    pytest.param({}, "invalid_request", "Provide one of: input, scene_refs", id="no source"),
    pytest.param({"input": " \t"}, "invalid_request", "Provide one of: input, scene_refs", id="input blank"),
    pytest.param(
        {"input": "in", "style_refs": []},
        "invalid_request",
        "Field 'style_refs' must not be empty",
        id="style_refs empty",
    ),
    pytest.param(
        {"input": "in", "style_refs": [""]},
        "invalid_request",
        "Field 'style_refs' must not contain empty values",
        id="style_refs with a blank",
    ),
    pytest.param({"input": "in", "stage": "night"}, "invalid_request", STAGES, id="stage unknown"),
    pytest.param({"input": "in", "stage": " "}, "invalid_request", STAGES, id="stage blank"),
    pytest.param(
        {"input": "in", "stage": "time", "time": "dusk"},
        "invalid_request",
        "Field 'time' must be one of: day, night",
        id="time unknown",
    ),
    pytest.param(
        {"input": "in", "stage": "weather", "weather": "snow"},
        "invalid_request",
        "Field 'weather' must be one of: clear, rain",
        id="weather unknown",
    ),
    pytest.param(
        {"input": "in", "candidates": 0},
        "invalid_request",
        "Field 'candidates' must be between 1 and 6",
        id="candidates 0",
    ),
    pytest.param(
        {"input": "in", "candidates": 7},
        "invalid_request",
        "Field 'candidates' must be between 1 and 6",
        id="candidates 7",
    ),
    pytest.param(
        {"input": "in", "candidates": -1},
        "invalid_request",
        "Field 'candidates' must be between 1 and 6",
        id="candidates negative",
    ),
    pytest.param({"input": "in", "time": "day"}, "invalid_request", NEEDS_STAGE, id="time without stage"),
    pytest.param(
        {"input": "in", "stage": "style", "time": "night"}, "invalid_request", NEEDS_STAGE, id="time in style"
    ),
    pytest.param(
        {"input": "in", "weather": "clear"},
        "invalid_request",
        "Field 'weather' requires stage 'weather'",
        id="weather without stage",
    ),
    pytest.param(
        {"input": "in", "stage": "time", "weather": "rain"},
        "invalid_request",
        "Field 'weather' requires stage 'weather'",
        id="weather in time",
    ),
    pytest.param(
        {"input": "in", "mode": "run"},
        "spend_confirmation_required",
        "Run mode requires explicit spend confirmation",
        id="run unconfirmed",
    ),
    pytest.param(
        {"input": "in", "mode": "run", "confirm_spend": False},
        "spend_confirmation_required",
        "Run mode requires explicit spend confirmation",
        id="run refused by the caller",
    ),
]


@pytest.mark.parametrize(("fields", "code", "text"), RULES)
def test_a_broken_rule_has_its_code_and_text(fields: dict[str, Any], code: str, text: str) -> None:
    error = refused(**fields)

    assert (error.code, error.message) == (code, text)
    assert error.kind == ("policy" if code == "spend_confirmation_required" else "validation")


# Each breaks one rule and nothing before it, in the contract's order of precedence.
PRECEDENCE: list[tuple[str, dict[str, Any], str]] = [
    ("mode", {"mode": "paid"}, "'mode' must"),
    ("project_root", {"project_root": "/srv"}, "'project_root'"),
    ("scene_refs", {"scene_refs": [""]}, "'scene_refs'"),
    ("both", {"input": "in", "scene_refs": ["a.png"]}, "only one of"),
    ("none", {"input": None, "scene_refs": None}, "Provide one of"),
    ("style_refs", {"style_refs": []}, "'style_refs'"),
    ("stage", {"stage": "no"}, "'stage' must"),
    ("time", {"time": "no"}, "'time' must"),
    ("weather", {"weather": "no"}, "'weather' must"),
    ("candidates", {"candidates": 9}, "'candidates'"),
    ("time fits", {"time": "day", "stage": None}, "'time' requires"),
    ("weather fits", {"weather": "rain", "stage": "time"}, "'weather' requires"),
    ("spend", {"mode": "run"}, "spend confirmation"),
]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        pytest.param(PRECEDENCE[n], PRECEDENCE[m], id=f"{PRECEDENCE[n][0]} before {PRECEDENCE[m][0]}")
        for n in range(len(PRECEDENCE))
        for m in range(n + 1, len(PRECEDENCE))
        # Two that name the same field cannot be broken at once.
        if not set(PRECEDENCE[n][1]) & set(PRECEDENCE[m][1])
    ],
)
def test_the_earlier_rule_decides(
    earlier: tuple[str, dict[str, Any], str], later: tuple[str, dict[str, Any], str]
) -> None:
    error = refused(**{"input": "in", **later[1], **earlier[1]})

    assert earlier[2] in error.message


def test_a_bad_mode_beats_everything_at_once() -> None:
    assert (
        refused(mode="x", project_root="/", scene_refs=[], style_refs=[], stage="x", candidates=0).code
        == "invalid_mode"
    )


def test_the_defaults_are_the_contracts() -> None:
    assert checked(input="in") == RunSpec(
        mode=RunMode.DRY,
        input="in",
        scene_refs=None,
        style_refs=None,
        stage=Stage.STYLE,
        time_of_day=TimeOfDay.DAY,
        weather=Weather.CLEAR,
        candidates=None,
        storage_sync_s3=False,
    )


@pytest.mark.parametrize("mode", [None, "", "  ", "dry", " DRY "])
def test_a_blank_mode_is_dry(mode: str | None) -> None:
    assert checked(input="in", mode=mode).mode is RunMode.DRY


@pytest.mark.parametrize("root", [None, "", "  "])
def test_a_blank_project_root_is_none(root: str | None) -> None:
    assert checked(input="in", project_root=root).input == "in"


def test_texts_are_trimmed_and_choices_lower_cased() -> None:
    spec = checked(
        mode=" Run ",
        confirm_spend=True,
        scene_refs=[" b.png ", "a.png\n"],
        style_refs=["\tink.png"],
        stage=" WEATHER",
        time="Night ",
        weather=" rAiN ",
        candidates=6,
        storage_sync_s3=True,
    )

    assert spec == RunSpec(
        mode=RunMode.RUN,
        scene_refs=("b.png", "a.png"),
        style_refs=("ink.png",),
        stage=Stage.WEATHER,
        time_of_day=TimeOfDay.NIGHT,
        weather=Weather.RAIN,
        candidates=6,
        storage_sync_s3=True,
    )


def test_scene_refs_beside_a_blank_input_are_one_source() -> None:
    assert checked(input=" ", scene_refs=["a.png"]).scene_refs == ("a.png",)


def test_repeated_scenes_are_kept() -> None:
    assert checked(scene_refs=["a.png", "a.png"]).scene_refs == ("a.png", "a.png")


@pytest.mark.parametrize("stage", ["time", "weather"])
def test_time_fits_both_later_stages(stage: str) -> None:
    assert checked(input="in", stage=stage, time="night").time_of_day is TimeOfDay.NIGHT


def test_a_confirmation_of_a_dry_run_is_ignored() -> None:
    assert checked(input="in", confirm_spend=True).mode is RunMode.DRY


def order_or_error(body: Body) -> RunSpec | KromaError:
    try:
        return RunSpec.checked(body)
    except KromaError as error:
        return error


texts = st.one_of(
    st.none(), st.text(max_size=8), st.sampled_from(["dry", "run", "time", "weather", "night", "rain"])
)
lists = st.one_of(st.none(), st.lists(st.text(max_size=4), max_size=3))


@given(
    st.builds(
        Body,
        mode=texts,
        confirm_spend=st.one_of(st.none(), st.booleans()),
        project_root=texts,
        input=texts,
        scene_refs=lists,
        style_refs=lists,
        stage=texts,
        time=texts,
        weather=texts,
        candidates=st.one_of(st.none(), st.integers(-2, 9)),
        storage_sync_s3=st.one_of(st.none(), st.booleans()),
    )
)
def test_any_body_of_the_right_shape_is_an_order_or_an_error_of_the_three_codes(body: Body) -> None:
    spec = order_or_error(body)
    if isinstance(spec, KromaError):
        assert spec.code in {"invalid_mode", "invalid_request", "spend_confirmation_required"}
        assert spec.message
        return
    assert (spec.input is None) != (spec.scene_refs is None)
    assert all(ref and ref == ref.strip() for ref in (*(spec.scene_refs or ()), *(spec.style_refs or ())))
    assert spec.candidates is None or 1 <= spec.candidates <= 6
    assert spec.mode is RunMode.DRY or body.confirm_spend is True
    assert spec.weather is Weather.CLEAR or spec.stage is Stage.WEATHER
    assert spec.time_of_day is TimeOfDay.DAY or spec.stage is not Stage.STYLE


@pytest.mark.parametrize("field", ["provider", "model", "size", "quality"])
def test_a_choice_that_is_given_is_not_blank(field: str) -> None:
    error = refused(input="in", **{field: "  "})

    assert error.message == f"Field '{field}' must not be empty"


def test_choices_are_trimmed_and_all_but_the_model_are_lower_case() -> None:
    spec = checked(input="in", provider=" OpenAI ", model=" GPT-x ", size=" 1024X1024 ", quality="HIGH ")

    assert (spec.provider, spec.model, spec.size, spec.quality) == (
        "openai",
        "GPT-x",
        "1024x1024",
        "high",
    )


@pytest.mark.parametrize("seed", [-1, 2**63, 2**80])
def test_a_seed_outside_its_range_is_refused(seed: int) -> None:
    assert refused(input="in", seed=seed).message == "Field 'seed' must be between 0 and 9223372036854775807"


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_a_seed_in_its_range_is_kept(seed: int) -> None:
    assert checked(input="in", seed=seed).seed == seed


def test_the_contracts_rules_come_before_ours() -> None:
    error = refused(mode="run", input="in", seed=-1, provider=" ")

    assert error.code == "spend_confirmation_required"
