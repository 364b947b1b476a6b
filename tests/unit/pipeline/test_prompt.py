"""What a project's own texts make of a prompt, and how templates are rendered."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kroma.pipeline.planning.errors import PlanningPreflightError
from kroma.pipeline.planning.manifest import DEFAULT_PROMPTS, Manifest
from kroma.pipeline.planning.prompt import NO_INVENTION, NO_INVENTION_BUT_CHARACTERS, Setting, compose_prompt
from kroma.pipeline.planning.template import VARIABLES, WANTING, render
from kroma.runlog.schema import NamedTextLog, ReferenceLog, WordsLog
from kroma.runs.models import Stage, TimeOfDay, Weather

MANIFEST = Manifest(prompts={**DEFAULT_PROMPTS, "style_base": "Ink.", "character": "Keep faces."})
NIGHT = Setting(
    stage=Stage.TIME,
    time_of_day=TimeOfDay.NIGHT,
    weather=Weather.CLEAR,
    project="comic",
    scene="Harbor Gate",
    scene_number=3,
)
CAST = Setting(stage=Stage.CHARACTER, time_of_day=TimeOfDay.DAY, weather=Weather.CLEAR)


def named(name: str, text: str) -> NamedTextLog:
    return NamedTextLog(id=uuid4(), name=name, text=text, updated_at="2026-11-23T00:00:00.000Z")


def reference(label: str, text: str = "") -> ReferenceLog:
    return ReferenceLog(id=uuid4(), set_id=uuid4(), set_name="Mara", label=label, text=text, path=None)


GUIDE = named("Noir", "Heavy outlines")
MARA, TOMO = named("Mara", "a gray braid"), named("Tomo", "")


def words(template: str | None = None, **fields: Any) -> WordsLog:
    return WordsLog(template=None if template is None else named("Page", template), **fields)


def refusal(template: str, setting: Setting = NIGHT, **fields: Any) -> str:
    with pytest.raises(PlanningPreflightError) as caught:
        compose_prompt(MANIFEST, setting, words(template, **fields))
    return caught.value.message


def test_the_projects_words_come_between_the_manifests_and_the_last_sentence() -> None:
    given_words = words(
        style_guide=GUIDE, characters=[MARA, TOMO], references=[reference("Face", "scar"), reference("Hand")]
    )

    prompt = compose_prompt(MANIFEST, NIGHT, given_words)

    night = DEFAULT_PROMPTS["time_night"]
    assert prompt == f"Ink. {night} Heavy outlines. Mara: a gray braid. Tomo. Face: scar. {NO_INVENTION}"


def test_the_character_stage_has_a_slot_of_its_own_and_lets_the_characters_in() -> None:
    prompt = compose_prompt(MANIFEST, CAST, words(characters=[MARA]))

    assert prompt == f"Ink. Keep faces. Mara: a gray braid. {NO_INVENTION_BUT_CHARACTERS}"


def test_the_character_stage_needs_somebody() -> None:
    with pytest.raises(PlanningPreflightError, match="give character_ids or reference_set_ids"):
        compose_prompt(MANIFEST, CAST, words(style_guide=GUIDE))


def test_a_template_stands_in_place_of_the_manifests_texts() -> None:
    text = "{scene} no. {scene_number} of {project}, {stage} {time} {weather}: {style_base} {{so}}"

    prompt = compose_prompt(MANIFEST, NIGHT, words(text))

    assert prompt == f"Harbor Gate no. 3 of comic, time night clear: Ink. {{so}} {NO_INVENTION}"


def test_what_a_template_does_not_name_is_appended() -> None:
    chosen = {"style_guide": GUIDE, "characters": [MARA], "references": [reference("Face", "scar")]}

    named_all = compose_prompt(
        MANIFEST, NIGHT, words("{no_invention} {references} {character_prompts} {style_guide}", **chosen)
    )
    named_none = compose_prompt(MANIFEST, NIGHT, words("{character} in {style_guide_name}", **chosen))

    assert named_all == f"{NO_INVENTION} Face: scar. Mara: a gray braid. Heavy outlines."
    assert named_none == f"Mara in Noir Heavy outlines. Mara: a gray braid. Face: scar. {NO_INVENTION}"


def test_a_slot_that_a_template_does_not_name_may_be_blank() -> None:
    manifest = Manifest(prompts={"style_base": ""}, default_no_invention=False)

    assert compose_prompt(manifest, NIGHT, words("{characters}", characters=[MARA, TOMO])).startswith(
        "Mara, Tomo"
    )


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        pytest.param("{mood} sky", "variable {mood} is unknown; use one of: {character}", id="unknown"),
        pytest.param("{}", "variable {} is unknown", id="without a name"),
        pytest.param("{0}", "variable {0} is unknown", id="a number"),
        pytest.param("{scene.__class__}", "variable {scene.__class__} is unknown", id="an attribute"),
        pytest.param("{scene[0]}", "variable {scene[0]} is unknown", id="an item"),
        pytest.param("{scene:>9}", "variable {scene} must not have a format", id="a format"),
        pytest.param("{scene!r}", "variable {scene} must not have a format", id="a conversion"),
        pytest.param("{Scene}", "variable {Scene} is unknown", id="another case"),
        pytest.param("a } b", "write {{ and }} for braces", id="a brace alone"),
        pytest.param("a {scene", "write {{ and }} for braces", id="an open brace"),
        pytest.param("{style_guide}", "has no value in this run; give style_guide_id", id="no guide"),
        pytest.param("{characters}", "has no value in this run; give character_ids", id="nobody"),
        pytest.param("{references}", "give reference_set_ids", id="no references"),
    ],
)
def test_what_a_template_cannot_have_is_named(template: str, problem: str) -> None:
    message = refusal(template)

    assert message.startswith("Prompt template 'Page': ")
    assert problem in message


def test_one_character_is_not_two() -> None:
    assert "give exactly one" in refusal("{character}", characters=[MARA, TOMO])


def test_every_variable_can_have_a_value() -> None:
    everything = words(
        " ".join(f"{{{name}}}" for name in VARIABLES),
        style_guide=GUIDE,
        characters=[MARA],
        references=[reference("Face", "scar")],
    )

    assert compose_prompt(MANIFEST, NIGHT, everything)
    assert set(WANTING) < set(VARIABLES)


def test_the_page_shows_every_variable() -> None:
    page = (Path(__file__).parents[3] / "docs" / "stages.md").read_text()

    shown = dict(re.findall(r"^\| `\{(\w+)\}` \| (.+) \|$", page, re.MULTILINE))

    assert shown == dict(VARIABLES)


@given(st.text())
def test_a_value_is_never_looked_into(value: str) -> None:
    text, names = render("<{x}>", {"x": lambda: f"v{value}"}, name="t")

    assert (text, names) == (f"<{f'v{value}'.strip()}>", {"x"})


@given(st.text(alphabet="{}ab!:.[] ", max_size=12))
def test_any_template_renders_or_says_why(text: str) -> None:
    with suppress(PlanningPreflightError):
        rendered, names = render(text, {"a": lambda: "1", "b": lambda: ""}, name="t")
        assert rendered
        assert names <= {"a"}
