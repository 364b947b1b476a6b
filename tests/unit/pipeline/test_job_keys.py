"""Job keys, pipeline.md 4.2."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kroma.pipeline.planning.job_keys import MAX_STEM_CHARACTERS, cleaned_stem, job_key, scene_name
from kroma.runs.models import Stage


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        pytest.param("Scene 01.png", "scene_01", id="the example"),
        pytest.param("in/deep/Scene 01.png", "scene_01", id="only the last segment"),
        pytest.param("a__b.png", "a_b", id="runs collapse"),
        pytest.param("__a-b_.png", "a-b", id="ends stripped"),
        pytest.param("-a-.png", "-a-", id="dashes stay"),
        pytest.param("Straße.png", "stra_e", id="other letters become underscores"),
        pytest.param("日本.png", "", id="nothing left"),
        pytest.param("\u212aelvin.png", "elvin", id="only ASCII is lower-cased"),
        pytest.param("a.tar.png", "a_tar", id="an inner dot"),
        pytest.param("a\nb.png", "a_b", id="a line break"),
    ],
)
def test_a_stem_is_cleaned(name: str, stem: str) -> None:
    assert cleaned_stem(name) == stem


def test_a_key_is_stage_position_and_stem() -> None:
    assert job_key(Stage.STYLE, 1, "in/Scene 01.png") == "style_1_scene_01"


def test_a_scene_without_a_usable_name_is_called_by_its_position() -> None:
    assert job_key(Stage.TIME, 3, "日本.png") == "time_3_3"


@given(st.lists(st.text(min_size=1, max_size=300), min_size=1, max_size=20))
def test_keys_are_unique_safe_and_short_enough_for_a_file_name(names: list[str]) -> None:
    keys = [job_key(Stage.WEATHER, n, name) for n, name in enumerate(names, start=1)]

    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"weather_\d+_[a-z0-9_-]+", key) for key in keys)
    assert all(len(key) <= MAX_STEM_CHARACTERS + len("weather_20_") for key in keys)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        pytest.param("style_1_harbor_gate", "harbor_gate", id="a scene"),
        pytest.param("character_12_time_3_a", "time_3_a", id="a scene that is called like a key"),
        pytest.param("style_1_", "style_1_", id="no name"),
        pytest.param("other_1_a", "other_1_a", id="no stage"),
    ],
)
def test_a_later_stage_finds_the_scenes_name(key: str, name: str) -> None:
    assert scene_name(key) == name


@given(st.sampled_from(Stage), st.integers(1, 20), st.text())
def test_a_scene_keeps_its_name_through_all_stages(stage: Stage, position: int, scene: str) -> None:
    first = job_key(stage, position, scene)

    later = job_key(Stage.WEATHER, position, scene_name(first))

    assert scene_name(later) == scene_name(first)
