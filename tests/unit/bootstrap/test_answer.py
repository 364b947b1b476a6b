"""Contract 3.6: finding the JSON in a pasted answer."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kroma.bootstrap.answer import read_answer
from kroma.bootstrap.errors import AnswerNotSettingsError, BlankAnswerError, NoJsonFoundError

SETTINGS = {"mode": "merge", "settings": {"characters": [{"name": 'Mira {"the"} fox'}]}}
TEXT = json.dumps(SETTINGS, indent=2)
SIZE = 2 * 1024**2


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(TEXT, id="whole"),
        pytest.param(f"\n  {TEXT}\n\n", id="whole between blanks"),
        pytest.param(f"```json\n{TEXT}\n```", id="fence with a language"),
        pytest.param(f"```\n{TEXT}\n```", id="fence"),
        pytest.param(f"```json5 title=x\n{TEXT}", id="fence that never ends"),
        pytest.param(f"Sure!\n~~~js\n{TEXT}\n~~~\nBye.", id="tildes"),
        pytest.param(f"Here you are: {TEXT} Enjoy!", id="prose"),
        pytest.param(f"Fill {{name}} and {{}}: {TEXT} or {{this}}", id="prose with braces"),
        pytest.param(f"```yaml\na: {{b}}\n```\nor\n```json\n{TEXT}\n```\nnot {{x}}", id="several fences"),
        pytest.param(f"It's 5\" tall {{ {TEXT}", id="an open quote and an open brace"),
        pytest.param(f'{{"note": "none of it"}} {TEXT}', id="another object before"),
        pytest.param(f'{{"broken": [1, }} {TEXT}', id="a broken object before"),
        pytest.param(f"{{ answer: {TEXT} }}", id="inside braces that are no JSON"),
    ],
)
def test_the_settings_are_found(text: str) -> None:
    assert read_answer(text) == SETTINGS


def test_the_first_of_several_settings_counts() -> None:
    assert read_answer(f'x {TEXT} {{"settings": {{}}}}') == SETTINGS


def test_an_object_without_settings_counts_when_there_is_no_other() -> None:
    assert read_answer('a {"first": 1} b {"second": 2}') == {"first": 1}


@pytest.mark.parametrize("text", ["", "  \n\t "])
def test_a_blank_text_is_refused(text: str) -> None:
    with pytest.raises(BlankAnswerError, match="must not be empty"):
        read_answer(text)


@pytest.mark.parametrize("text", ["sorry", "{name}", '{"a": ', '{"a": "\\ud800"}', "```\n```", "{'a': 1}"])
def test_a_text_without_json_is_refused(text: str) -> None:
    with pytest.raises(NoJsonFoundError):
        read_answer(text)


@pytest.mark.parametrize("text", ["[1]", '"text"', "3", "null", "```json\n[]\n```"])
def test_json_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(AnswerNotSettingsError):
        read_answer(text)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{" * SIZE, id="braces"),
        pytest.param("[" * SIZE, id="brackets"),
        pytest.param('{"a":' * (SIZE // 5), id="objects that never end"),
        pytest.param('{"' * (SIZE // 2), id="braces and quotes"),
        pytest.param('{":{":{",":{":":{"' * (SIZE // 18), id="objects on both sides of the quotes"),
        pytest.param("x " + '{"a":' * (SIZE // 6) + "x" + "}" * (SIZE // 6), id="wrong in the middle"),
        pytest.param("x " + '{"a":' * (SIZE // 6) + "1" + "}" * (SIZE // 6), id="too deep"),
    ],
)
def test_pathological_texts_are_refused_in_time(text: str) -> None:
    with pytest.raises(NoJsonFoundError):
        read_answer(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(value=st.dictionaries(st.text(), JSON, min_size=1, max_size=4), before=st.text(), after=st.text())
def test_any_object_is_found_among_prose(value: dict[str, Any], before: str, after: str) -> None:
    encoded = msgspec.json.encode({"settings": value}).decode()
    # A brace or a quote before it could make another object of it.
    prose = before.replace("{", "(").replace('"', "'")

    assert read_answer(f"x {prose} {encoded} {after}") == {"settings": value}
