"""Which stored row a name means, and which contents are the same."""

import pytest

from kroma.bootstrap.content import matched, same_content


@pytest.mark.parametrize(
    ("stored", "given", "expected"),
    [
        pytest.param(["Hero"], ["Hero"], {"Hero": "Hero"}, id="exactly"),
        pytest.param(["Hero"], ["hERO"], {"hERO": "Hero"}, id="the single one in lower case"),
        pytest.param(["Hero", "hero"], ["hero"], {"hero": "hero"}, id="exactly among several"),
        pytest.param(["Hero", "hero"], ["HERO"], {}, id="none of several"),
        pytest.param(["Über"], ["über"], {}, id="only ASCII letters have two cases"),
        pytest.param([], ["Hero"], {}, id="none"),
    ],
)
def test_a_name_means_itself_else_the_single_one_equal_in_lower_case(
    stored: list[str], given: list[str], expected: dict[str, str]
) -> None:
    assert matched(stored, given) == expected


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, True),
        ({"a": True}, {"a": 1}, False),
        ({"a": [0]}, {"a": [False]}, False),
        ({"a": 1.0}, {"a": 1}, True),
        ([1, 2], [2, 1], False),
        ([1], [1, 1], False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({}, [], False),
    ],
)
def test_json_is_compared_by_meaning(left: object, right: object, *, same: bool) -> None:
    assert same_content(left, right) is same


def test_deep_json_is_compared_without_recursion() -> None:
    left: object = 1
    right: object = 1
    for _ in range(100_000):
        left, right = [left], [right]
    assert same_content(left, right)
    while isinstance(left, list) and isinstance(
        right, list
    ):  # taken apart by hand: so is its end not recursive
        left, right = left.pop(), right.pop()
